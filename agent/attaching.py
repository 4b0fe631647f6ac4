"""Probes are made ready beside the thread that reads them and lets held statements go.

To load and attach those of one more server program takes seconds.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

from agent.discovery import Cluster
from agent.probes.errors import CaptureUnavailable

Refusals = dict[Cluster, CaptureUnavailable]
HandOver = Callable[[list[Cluster], Refusals], None]


class Preparing(Protocol):
    def prepare(self, cluster: Cluster) -> None: ...


class Attaching:
    """One thread, which starts with the first order."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[tuple[Preparing, list[Cluster], HandOver]] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None

    def attach(self, source: Preparing, wanted: list[Cluster], hand_over: HandOver) -> None:
        """Soon ``hand_over`` is called, by another thread, with the reasons for those that cannot
        be watched. An order that is followed by another one before it is begun is left out."""
        self._orders.put((source, wanted, hand_over))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="attach", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            order = self._orders.get()
            while not self._orders.empty():
                order = self._orders.get()
            source, wanted, hand_over = order
            refused: Refusals = {}
            for cluster in wanted:
                try:
                    source.prepare(cluster)
                except CaptureUnavailable as refusal:
                    refused[cluster] = refusal
                except Exception as error:  # noqa: BLE001 - supervised: named, and tried again
                    refused[cluster] = CaptureUnavailable(f"preparing them failed: {error!r}")
            hand_over(wanted, refused)
