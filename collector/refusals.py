"""Batches that were refused, as long as their agents may not have heard of it.

An acknowledgement covers every number before it, also one that was refused among good ones. An
agent that was killed before it read the refusal, or whose collector was before it left, would
forget that batch uncounted. So a refusal is durable before anything covers its number, and a new
stream hears of it before its first acknowledgement.
"""

import json
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from collector.ledger import fsync_folder
from collector.submission import BatchId

NAME = "refused.json"
KEPT_OF_AGENT = 256
"""The newest: more than an agent has under way at once."""
KEPT = 8_192
"""Of all agents: on the socket of the host a name is free."""
REASON_CHARACTERS = 200

_log = logging.getLogger(__name__)


class Refusals:
    """Thread-safe; who only asks never waits for the disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.Lock()
        self._reasons = self._read()
        """The newest last. Never changed: another one takes its place."""

    def add(self, refused: Iterable[tuple[BatchId, str]]) -> None:
        """Durable when it returns. Raises OSError; then nothing may cover these numbers."""
        with self._lock:
            reasons = dict(self._reasons)
            for batch, reason in refused:
                reasons.pop(batch, None)
                reasons[batch] = reason[:REASON_CHARACTERS]
            reasons = _newest(reasons)
            self._write(reasons)
            self._reasons = reasons

    def forget(self, accepted: Iterable[BatchId]) -> None:
        """Before they are committed: another release may take what this one refused, and who hears
        of a refusal counts the batch as lost. Raises OSError; then they may not be committed."""
        with self._lock:
            stale = self._reasons.keys() & accepted
            if stale:
                reasons = {each: why for each, why in self._reasons.items() if each not in stale}
                self._write(reasons)
                self._reasons = reasons

    def of(self, agent: str, epoch: int, upto: int) -> list[tuple[int, str]]:
        """Numbers, ascending, up to that one, and why."""
        return sorted(
            (batch.sequence, reason)
            for batch, reason in self._reasons.items()
            if (batch.agent, batch.epoch) == (agent, epoch) and batch.sequence <= upto
        )

    def reason(self, batch: BatchId) -> str:
        """Why it was refused; empty if it was not, as far as is known."""
        return self._reasons.get(batch, "")

    def _write(self, reasons: dict[BatchId, str]) -> None:
        rows = [[each.agent, each.epoch, each.sequence, why] for each, why in reasons.items()]
        if not self._path.parent.is_dir():
            self._path.parent.mkdir(parents=True)
            fsync_folder(self._path.parent.parent)
        part = self._path.with_name(f"{NAME}.part")
        with part.open("w") as file:
            json.dump(rows, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)
        fsync_folder(self._path.parent)

    def _read(self) -> dict[BatchId, str]:
        try:
            rows = json.loads(self._path.read_bytes())
            return {
                BatchId(str(agent), int(epoch), int(sequence)): str(why)
                for agent, epoch, sequence, why in rows
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            _log.error("%s cannot be read, refusals before now are unknown: %s", self._path, error)
            return {}


def _newest(reasons: dict[BatchId, str]) -> dict[BatchId, str]:
    left: dict[str, int] = {}
    kept: list[tuple[BatchId, str]] = []
    for batch, reason in reversed(reasons.items()):
        left[batch.agent] = left.get(batch.agent, KEPT_OF_AGENT) - 1
        if left[batch.agent] >= 0 and len(kept) < KEPT:
            kept.append((batch, reason))
    return dict(reversed(kept))
