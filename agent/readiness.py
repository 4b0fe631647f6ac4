"""Whether rules are enforced at this moment: whoever reads "ready" relies on it."""

from __future__ import annotations

from collections.abc import Sequence

from agent.capture import Capture
from agent.clusters import Clusters
from agent.sources.ebpf import EbpfSource

READY_SECONDS = 10.0
"""The service manager is told at the latest then: there may be no server to hold anything on."""


def unheld(
    source: EbpfSource | None,
    capture: Capture | None,
    clusters: Clusters,
    degraded: Sequence[str],
    calls: Sequence[str] = (),
) -> list[str]:
    """Why statements pass that rules forbid, one sentence each; for an agent that enforces.
    ``calls``: why functions may be called that they forbid."""
    if capture is not None and capture.problem:
        return [capture.problem]
    if source is None or capture is None or not capture.guarded:
        missing = [sentence for sentence in degraded if sentence.startswith("nothing is held")]
        return missing or ["nothing is held"]
    if not (capture.alive and source.holding.holds):
        return ["nothing is held: the judge gives no sign of life"]
    return [*clusters.unheld(), *calls]
