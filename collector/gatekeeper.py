"""The gate of a running collector: its file, who is active, and what is not durable yet.

The file names the ledger sequence that it contains, as those of the detectors do, and is written
before theirs: whatever a crash leaves, a candidate reaches the gate once, and a finding that was
raised is told again until the record has it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from analytics.gate import Agreement, Feedback, Gate, GateSettings, Mute, Opinion, Raised, Who
from analytics.gate.population import Population
from analytics.gate.stored import StoredGateError, from_tree, to_tree
from model.finding import Finding, FindingKind
from model.verdict import Severity

FILE = "gate.json"

_log = logging.getLogger(__name__)


class Gatekeeper:
    """``judge`` every commit in the order of the ledger. ``gate`` may be read by any thread."""

    def __init__(self, folder: Path, settings: GateSettings, mutes: tuple[Mute, ...] = ()) -> None:
        self._path = folder / FILE
        self.gate = Gate(settings, mutes)
        self.seq = 0
        self.lost = False
        """The file could not be used: thresholds are learnt anew."""
        self.unheard = False
        """What people said of findings must be heard again, from the record."""
        self._population = Population()
        self._untold: dict[str, Finding] = {}
        self._agreements: list[Agreement] = []
        self._load()

    def judge(
        self,
        candidates: Sequence[Finding],
        seq: int,
        at_us: int,
        statements: pl.DataFrame | None = None,
        feedback: pl.DataFrame | None = None,
    ) -> list[Raised]:
        """What a person is told of this commit; nothing where it was judged before."""
        if seq <= self.seq:
            return []
        self.seq = seq
        if feedback is not None:
            self.hear(feedback)
        if statements is not None and not statements.is_empty():
            at_us = at_us or _latest_us(statements)
            self._population = self._population.with_(statements, at_us)
        elif not candidates:
            return []
        at_us = at_us or max((finding.at_us for finding in candidates), default=self.gate.now_us)
        return self._step(candidates, at_us)

    def hear(self, feedback: pl.DataFrame) -> None:
        """Rows of table ``finding_feedback``, oldest first."""
        for row in feedback.iter_rows(named=True):
            self.gate = self.gate.heard(feedback_of(row))

    def tick(self, candidates: Sequence[Finding], now_us: int) -> list[Raised]:
        return self._step(candidates, now_us) if candidates else []

    def take_agreements(self) -> list[Agreement]:
        """Since the last call."""
        taken, self._agreements = self._agreements, []
        return taken

    def untold(self) -> list[Finding]:
        """Raised, and not known to be in the record."""
        return list(self._untold.values())

    def told(self, ids: Iterable[str]) -> None:
        """They are durable. From any thread."""
        for id_ in ids:
            self._untold.pop(id_, None)

    def save(self) -> None:
        """Whole or not at all; the caller syncs the folder."""
        tree = {
            "seq": self.seq,
            "gate": to_tree(self.gate),
            "population": [self._population.day, sorted(self._population.known)],
            "untold": [asdict(finding) for finding in self.untold()],
        }
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(orjson.dumps(tree))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    def _step(self, candidates: Sequence[Finding], at_us: int) -> list[Raised]:
        identities = max(1, len(self._population.known))
        self.gate, raised = self.gate.step(candidates, identities, at_us)
        self._agreements += self.gate.agreements
        self._untold |= {each.finding.id: each.finding for each in raised}
        return raised

    def _load(self) -> None:
        if not self._path.exists():
            self.unheard = True
            return
        try:
            tree = orjson.loads(self._path.read_bytes())
            self.gate = from_tree(tree["gate"], self.gate)
            day, known = tree["population"]
            self._population = Population(day, frozenset(known))
            self._untold = {each["id"]: _finding(each) for each in tree["untold"]}
            self.seq = tree["seq"]
        except (OSError, ValueError, KeyError, TypeError, StoredGateError) as error:
            self.lost = self.unheard = True
            self._path.replace(self._path.with_suffix(".damaged"))
            _log.error("%s cannot be used (%s): thresholds are learnt anew", self._path, error)


def _latest_us(statements: pl.DataFrame) -> int:
    return int(statements.select(pl.col("started_at").dt.epoch("us").max()).item() or 0)


def feedback_of(row: dict[str, Any]) -> Feedback:
    """A row of table ``finding_feedback``."""
    return Feedback(
        row["finding_id"],
        Opinion(row["opinion"]),
        row["detector"] or "",
        Who(row["agent"] or "", row["cluster"] or "", row["identity"] or ""),
        row["object"] or "",
        row["bits"] or 0.0,
        row["threshold"] or 0.0,
        by=row["author"] or "",
        because=row["because"] or "",
    )


def _finding(tree: dict[str, Any]) -> Finding:
    return Finding(
        **tree
        | {
            "kind": FindingKind(tree["kind"]),
            "severity": Severity(tree["severity"]),
            "details": tuple((name, value) for name, value in tree["details"]),
        }
    )
