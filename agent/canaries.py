"""The canary of each watched cluster, and the threads that they run in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from agent.canary import Canary, Minded
from agent.discovery import Cluster, backend_here
from agent.sources.canary import Sightings, sing
from agent.sources.ebpf import EbpfSource
from config.schema import Capture

BUILD_LETTERS = 12
"""Of a build-id, enough to tell two builds apart."""
Connect = Callable[..., Any]
"""Of a cluster and words of a connection string, to a connection in autocommit mode."""


class Canaries:
    """``start`` and ``stop`` follow servers that come and go; any thread may ask the rest."""

    def __init__(
        self, capture: Capture, source: EbpfSource | None, minded: Minded, connect: Connect
    ) -> None:
        self._capture = capture
        self._source = source
        self._minded = minded
        self._connect = connect
        self._canaries: dict[Cluster, Canary] = {}

    def start(self, cluster: Cluster, tried: threading.Event, refused: Callable[[], bool]) -> None:
        """``tried``: the probes have been attached, or were ``refused``. Does nothing where there
        are none to attach, or no canary is wanted."""
        source, capture = self._source, self._capture
        if source is None or not capture.canary_interval_seconds:
            return

        def attached() -> list[str]:
            return source.telling() if tried.is_set() and not refused() else []

        def sing_there(sightings: Sightings) -> None:
            sing(sightings, partial(self._connect, cluster), partial(backend_here, cluster))

        canary = Canary(
            self._minded,
            attached,
            sing_there,
            capture.canary_interval_seconds,
            capture.canary_seconds,
        )
        self._canaries[cluster] = canary

        def run() -> None:
            tried.wait(capture.canary_interval_seconds)
            canary.run()

        threading.Thread(target=run, name=f"canary-{cluster.name}", daemon=True).start()

    def stop(self, cluster: Cluster) -> None:
        canary = self._canaries.pop(cluster, None)
        if canary is not None:
            canary.stop()

    def stop_all(self) -> None:
        for cluster in list(self._canaries):
            self.stop(cluster)

    def fires(self) -> dict[tuple[str, str], bool]:
        """By the cluster's name and the probed function, as its canary found it last."""
        return {
            (cluster.name, function): ok
            for cluster, canary in list(self._canaries.items())
            for function, ok in canary.fires().items()
        }

    def problems(self) -> set[str]:
        """A sentence on each probe that does not fire, or is not known to."""
        return {
            f"{cluster.name}: {sentence}{self._named(cluster)}"
            for cluster, canary in list(self._canaries.items())
            for sentence in canary.problems()
        }

    def _named(self, cluster: Cluster) -> str:
        build = self._source.build_of(cluster) if self._source is not None else ""
        return f" (PostgreSQL {cluster.version}, build {build[:BUILD_LETTERS]})" if build else ""
