"""A hostile agent: full batches as fast as the collector reads them, whatever it answers.

``python -m bench.flood ADDRESS HOME < BODY`` goes on until it is ended: a process of its own, so
that what it costs is not the played agents'.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import grpc

from agent.channel import OPTIONS
from agent.wire.batch import to_wire
from protos.pgwarden.v1 import uplink_pb2 as pb
from protos.versions import OLDEST

PATH = "/pgwarden.v1.Uplink/Connect"
NAME = "agent-flood"
EPOCH = 1


def main(address: str, home: Path, body: bytes) -> None:
    parts = [(home / part).read_bytes() for part in ("ca.pem", "key.pem", "cert.pem")]
    credentials = grpc.ssl_channel_credentials(*parts)
    with grpc.secure_channel(address, credentials, OPTIONS) as channel:
        connect = channel.stream_stream(PATH, lambda data: data, pb.CollectorMessage.FromString)
        for _ in connect(_messages(body), wait_for_ready=True):
            pass


def _messages(body: bytes) -> Iterator[bytes]:
    hello = pb.Hello(agent=NAME, epoch=EPOCH, version="bench", host=NAME, oldest_protocol=OLDEST)
    yield pb.AgentMessage(hello=hello).SerializeToString()
    for sequence in count(1):
        yield to_wire(body, EPOCH, sequence)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.stdin.buffer.read())
