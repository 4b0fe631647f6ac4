"""A connection to the running collector's Operator service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from cli.access_token import access_token, with_token
from cli.context import fail
from config import Config
from protos.pgwarden.v1 import operator_pb2_grpc

DEADLINE_SECONDS = 10.0
MOST_BYTES = 256 << 20
"""Of an answer: some 200,000 open differences or sessions."""
_OPTIONS = (("grpc.max_receive_message_length", MOST_BYTES),)


@contextmanager
def operator(config: Config) -> Iterator[operator_pb2_grpc.OperatorStub]:
    """The stub; a collector that cannot be reached ends the command with the remedy."""
    with connection(config) as channel:
        yield operator_pb2_grpc.OperatorStub(channel)


@contextmanager
def connection(config: Config) -> Iterator[grpc.Channel]:
    """As ``operator``, for any of the collector's services."""
    address = config.collector.listen[0]
    tls = config.collector.tls
    if tls is None or address.startswith("unix:"):  # a socket never speaks TLS
        channel = grpc.insecure_channel(address, options=_OPTIONS)
    else:
        credentials = grpc.ssl_channel_credentials(
            *(_read(file) for file in (tls.ca, tls.key, tls.certificate))
        )
        channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
    token = access_token()
    with channel:
        try:
            yield with_token(channel, token) if token else channel
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code is grpc.StatusCode.UNAVAILABLE:
                fail(f"no collector answers at {address}; start it with: pgwarden up")
            if code is not grpc.StatusCode.CANCELLED:
                fail(f"the collector at {address} answered {code.name}: {details}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        fail(
            f"collector.tls: {file}: {error.strerror}; run this as the collector's account, or "
            "with a configuration of your own whose collector.tls names your certificate"
        )
