"""Each probe by canary: attached for seconds, a statement of our own run, its event seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg

from agent.catalog.rights import quoted
from agent.discovery import Cluster, backend_here
from agent.probes.errors import CaptureUnavailable
from agent.probes.loader import open_loader
from agent.sources.canary import Proof, prove
from agent.sources.ebpf import EbpfSource
from cli.doctor.check import Check, bad, good, one_line, skipped, warn
from cli.doctor.login import Connection
from config import Config
from model.verdict import Mode

REPLICATION = "exec_replication_command"
NOT_SEEN = "its events are not seen"
LOST = {
    "PortalRun": "statements are not seen",
    "secure_write": "durations, rows and errors are not seen",
    "pgstat_report_appname": "a changed application_name is not seen",
    "HandleFunctionRequest": "fastpath calls are not seen",
    REPLICATION: "replication commands are not seen",
    "standard_ExecutorStart": "queries inside functions are not seen",
    "standard_ProcessUtility": "commands inside functions are not seen",
    "sched_process_exit": "the end of a session is not seen",
}


def check_probes(config: Config, cluster: Cluster, login: Connection | None) -> Iterator[Check]:
    """Never holds: nobody sets ``set_hold`` on this source, and it is gone when we return."""
    capture = config.agent.capture
    if not capture.ebpf:
        yield good("probes", "not used: agent.capture.ebpf is false")
        return
    try:
        loader = open_loader(capture.loader.value)
        holds = config.agent.guard.mode is Mode.ENFORCE
        with EbpfSource(
            capture.ring_bytes,
            loader,
            nested=capture.nested,
            commands=capture.nested_commands,
            holds=holds,
        ) as source:
            source.add(cluster)
            count = source.probes
            build = source.build_of(cluster)
            told = f"{count} attached with {source.loader}, and detached again"
            yield good("probes", f"{told}; build {build}" if build else told)
            if login is None:
                yield skipped("probe", "login")
                return
            proofs = prove(source, partial(_again, login), partial(backend_here, cluster))
    except CaptureUnavailable as error:
        sentence = f"{one_line(error.reason)[:400]}; the pgaudit log alone remains"
        yield bad("probes", sentence, error.remedy or "set agent.capture.ebpf: false")
        yield skipped("probe", "probes")
        return
    yield from (_proof(proof, login) for proof in proofs)


def _proof(proof: Proof, login: Connection) -> Check:
    function, fired = proof
    if fired:
        return good("probe", f"{function} fires")
    if fired is False:
        return bad(
            "probe",
            f"{function} is attached, but did not fire: {LOST.get(function, NOT_SEEN)}",
            "use a packaged build of PostgreSQL; this one calls past the exported function",
        )
    role = quoted(login.info.user)
    told = f"{function} is attached; skipped: this login cannot make it fire"
    remedy = "agent.clusters dsn: a login without TLS, over the unix socket"
    if function == REPLICATION:
        remedy = (
            f"-- to prove it once, pgwarden needs no such right:\nALTER ROLE {role} REPLICATION;\n"
            f"-- pgwarden doctor, and afterwards: ALTER ROLE {role} NOREPLICATION;"
        )
    return replace(warn("probe", told, remedy), skipped=True)


def _again(login: Connection, **words: Any) -> Connection:
    """Another connection just like ``login``: its dsn holds everything but the password."""
    password = login.info.password or None
    return psycopg.connect(login.info.dsn, password=password, autocommit=True, **words)
