"""Which versions of TLS a collector speaks, as a process of its own: gRPC reads it once."""

import socket
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from cli.main import app
from model.certified import Role
from tests.collector.authority import Pki
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
def port(tmp_path, pki):
    files = pki.issue(Role.COLLECTOR, "collector")
    port, metrics = free_port(), free_port()
    config = tmp_path / "pgwarden.yaml"
    config.write_text(
        f"collector: {{data_dir: {tmp_path}/data,"
        f" listen: ['unix:{tmp_path}/c.sock', '127.0.0.1:{port}'],"
        f" metrics: {{port: {metrics}}}, tls: {{certificate: {files.certificate},"
        f" key: {files.key}, ca: {files.ca}, crl: {pki.crl}}}}}"
    )
    command = [sys.executable, "-P", "-m", "collector", "--config", str(config)]
    with (tmp_path / "collector.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or is_open(port), 60)
        assert process.poll() is None, (tmp_path / "collector.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(20)


def test_a_collector_speaks_tls_1_3_and_nothing_older(port, pki):
    mine = pki.agent()
    assert handshake(port, mine, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(port, mine, ssl.TLSVersion.TLSv1_2)
    pem = (mine.ca.read_bytes(), mine.key.read_bytes(), mine.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(*pem)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        asked = health_pb2.HealthCheckRequest()
        reply = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=10)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_operators_on_the_host_use_the_socket_beside_an_address_with_tls(port, tmp_path):
    done = CliRunner().invoke(app, ["agents", "--config", str(tmp_path / "pgwarden.yaml")])
    assert done.exit_code == 0, done.output


def handshake(port, files, version):
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.version()


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
