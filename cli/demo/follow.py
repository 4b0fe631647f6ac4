"""Prints what pgwarden records while the demo runs; routine traffic is thinned, news never."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import orjson
from rich.console import Console

from cli.lines import line
from protos.pgwarden.v1 import operator_pb2, operator_pb2_grpc

NEWS = ("verdict", "finding", "drift", "loss")
ROUTINE_SECONDS = 1.5
"""At most one routine statement of each identity in this time."""
Row = dict[str, Any]


class Follower:
    """Reads the collector's Tail in a thread and remembers the rows that scenes wait for."""

    def __init__(self, address: str, console: Console) -> None:
        self._console = console
        self._channel = grpc.insecure_channel(address)
        self._seen: list[tuple[str, Row]] = []
        self._changed = threading.Condition()
        self._printed_at: dict[str, float] = {}
        self._thinned: Counter[str] = Counter()
        self._call = operator_pb2_grpc.OperatorStub(self._channel).Tail(
            operator_pb2.TailRequest(kinds=["statement", *NEWS, "alert"]), wait_for_ready=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(
        self, kind: str, matches: Callable[[Row], bool], timeout_seconds: float
    ) -> Row | None:
        """The first row of this kind that matches, or None after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while True:
                for seen_kind, row in self._seen:
                    if seen_kind == kind and matches(row):
                        return row
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def stop(self) -> None:
        self._call.cancel()
        self._channel.close()
        self._thread.join(5)

    def _read(self) -> None:
        try:
            for item in self._call:
                self._take(item.kind, orjson.loads(item.row_json))
        except grpc.RpcError:
            return  # cancelled by stop(), or the collector has ended and the scenes notice

    def _take(self, kind: str, row: Row) -> None:
        if kind in NEWS or self._is_due(row):
            self._console.print(line(kind, row), soft_wrap=True)
        if kind != "statement" or row.get("identity_kind") != "service":
            with self._changed:
                self._seen.append((kind, row))
                self._changed.notify_all()

    def _is_due(self, row: Row) -> bool:
        name = str(row.get("identity_name") or row.get("user_name"))
        if name == "pgwarden":
            return False
        now = time.monotonic()
        if now - self._printed_at.get(name, 0.0) < ROUTINE_SECONDS:
            self._thinned[name] += 1
            return False
        self._printed_at[name] = now
        return True
