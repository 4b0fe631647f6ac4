"""The collector at the agent's address, and the ports that both programs serve metrics on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
from cryptography import x509

from agent.channel import AddressError, Call, RpcError, StatusCode, open_channel
from cli.doctor.check import Check, bad, good, one_line, warn
from config import Config
from config.schema import Listen, TlsFiles
from protos.pgwarden.v1 import uplink_pb2

DEADLINE_SECONDS = 3.0
EXPIRES_SOON = timedelta(days=14)
"""Or a quarter of its life: pgwarden pki rotate renews at a third."""
SERVICE: str = uplink_pb2.DESCRIPTOR.services_by_name["Uplink"].full_name
RENEW = "pgwarden pki rotate, and write both files in place: the programs read them again"
STRANGE_SIGNS = ("SETTINGS", "Socket closed")
"""An HTTP/2 server begins with a SETTINGS frame; one that wants TLS hangs up instead."""
TLS_SIGNS = ("ssl", "tls", "handshake", "certificate")


def check_collector(config: Config) -> Iterator[Check]:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    address, tls = config.agent.collector, config.agent.tls
    if tls is not None:
        yield from _check_certificate(tls)
    try:
        channel = open_channel(address, tls)
    except AddressError as error:
        yield bad("collector", one_line(str(error)), "set agent.collector, or agent.tls")
        return
    except OSError as error:
        yield bad(
            "collector", f"agent.tls: {error.filename}: {error.strerror}", "set agent.tls to files"
        )
        return
    with channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=DEADLINE_SECONDS
            )
        except RpcError as error:
            yield _unreachable(address, tls, error)
            return
    if reply.status == health_pb2.HealthCheckResponse.SERVING:
        yield good("collector", f"{address} answers and takes events")
    else:
        sentence = f"{address} answers, but is not ready: its last commit, or a certificate"
        yield bad("collector", sentence, "journalctl -u pgwarden-collector  # disk, ledger or tls")


def _unreachable(address: str, tls: TlsFiles | None, error: RpcError) -> Check:
    assert isinstance(error, Call)
    code, details = error.code(), one_line(error.details() or "")[:300]
    if code is StatusCode.UNIMPLEMENTED:
        return bad("collector", f"{address} is no pgwarden collector", "set agent.collector")
    if tls is not None and any(sign in details.lower() for sign in TLS_SIGNS):
        return bad(
            "collector",
            f"{address}: TLS failed: {details}",
            f"openssl s_client -connect {address} -CAfile {tls.ca} -cert {tls.certificate} "
            f"-key {tls.key}  # the collector needs collector.tls, of the same ca",
        )
    if "Permission denied" in details:
        return bad("collector", f"{address} is closed to this account", "sudo pgwarden doctor")
    if code is StatusCode.DEADLINE_EXCEEDED or any(sign in details for sign in STRANGE_SIGNS):
        return bad(
            "collector",
            f"{address}: something listens, but does not speak our protocol as configured",
            "pgwarden up  # or: agent.tls, where the collector has collector.tls",
        )
    return bad("collector", f"nothing answers at {address}", "pgwarden up")


def _check_certificate(tls: TlsFiles) -> Iterator[Check]:
    try:
        certificate = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    except OSError:
        return  # open_channel says so
    except ValueError:
        yield bad(
            "collector",
            f"agent.tls: {tls.certificate} is no PEM certificate",
            f"openssl x509 -in {tls.certificate} -noout -text",
        )
        return
    ends, now = certificate.not_valid_after_utc, datetime.now(UTC)
    if ends < now:
        yield bad("collector", f"agent.tls: {tls.certificate} expired at {ends:%F %R} UTC", RENEW)
    elif ends - now < min(EXPIRES_SOON, (ends - certificate.not_valid_before_utc) / 4):
        yield warn("collector", f"agent.tls: {tls.certificate} expires {ends:%F %R} UTC", RENEW)


def check_metrics(name: str, listen: Listen) -> list[Check]:
    """``name`` is the key, ``agent.metrics`` or ``collector.metrics``."""
    where = f"{name}: {listen.host}:{listen.port}"
    if listen.port == 0:
        return [good("metrics", f"{name}: any free port")]
    try:
        with socket.create_server((listen.host, listen.port)):
            return [good("metrics", f"{where} is free")]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return [_served(name, listen, where)]
        if error.errno in (errno.EACCES, errno.EPERM):
            remedy = f"choose a port from 1024 on for {name}.port"
        else:
            remedy = f"ip address  # choose one of these for {name}.host"
        return [bad("metrics", f"{where}: {os.strerror(error.errno or 0)}", remedy)]


def _served(name: str, listen: Listen, where: str) -> Check:
    program = name.partition(".")[0]
    try:
        page = httpx.get(
            f"http://{listen.host}:{listen.port}/metrics", timeout=DEADLINE_SECONDS, trust_env=False
        )
        ours = f"pgwarden_{program}_build_info" in page.text
    except httpx.HTTPError:
        ours = False
    if ours:
        return good("metrics", f"{where} is served by the {program}")
    return bad(
        "metrics",
        f"{where} is taken by another program",
        f"ss -ltnp 'sport = :{listen.port}'  # and choose another {name}.port",
    )
