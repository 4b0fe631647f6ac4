"""What of open differences has been told, and how a finding ends with the last of its members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from collector.drift.expectations import REVERTED
from collector.drift.explanation import Explanations
from collector.drift.news import DriftNews
from collector.drift.powers import with_powers
from collector.drift.reach import Consequences
from collector.drift.row import row_of
from collector.drift.state import Key, OpenDrift, State
from collector.drift.telling import explained, finding_of, with_consequences
from model.finding import Finding


class Reports:
    """Changes ``state`` as it tells; ``dirty``: it is to be saved."""

    def __init__(self, state: State, explanations: Explanations) -> None:
        self._state = state
        self._explanations = explanations
        self._consequences = Consequences()
        self._members: dict[str, set[Key]] = {}
        self.count_anew()
        # Said again at each start: a crash may have come between saving and storing them.
        self.news = DriftNews(
            list(state.findings.values()),
            [row_of(drift) for drift in state.open.values() if drift.reported],
            dict(state.outbox),
        )
        self.dirty = False

    @property
    def finding_ids(self) -> Iterable[str]:
        """Of differences that are open."""
        return self._members

    def count_anew(self) -> None:
        """Which differences are of which finding: after a start, or where an error came between."""
        self._members.clear()
        for key, drift in self._state.open.items():
            if drift.reported:
                self._members.setdefault(drift.finding_id, set()).add(key)

    def take(self) -> DriftNews:
        news, self.news = self.news, DriftNews()
        return news

    def moved(self, old: OpenDrift, new: OpenDrift, at_us: int, now_us: int) -> None:
        """It, or its database, has another name now; ``state`` knows that already."""
        if new.reported:
            self._members[new.finding_id] ^= {old.key, new.key}
            ended = {"resolved_at": at_us, "known_at": now_us}
            self.news.rows += [row_of(old, **ended), row_of(new)]

    def instead(self, *findings: Finding) -> None:
        """Of each of these only what it says now."""
        for finding in findings:
            if finding != self._state.findings.get(finding.id):
                self._state.findings[finding.id] = finding
                told = [each for each in self.news.findings if each.id != finding.id]
                self.news.findings = [*told, finding]

    def report(self, due: Sequence[OpenDrift]) -> None:
        if not due:
            return
        left: list[str] = []
        for each in due:
            drift = with_powers(each, self._state.known)
            key = drift.key
            left += self._leave(key, drift)
            self._state.open[key] = drift
            self._members.setdefault(drift.finding_id, set()).add(key)
            self.news.rows.append(row_of(drift))
        for finding_id in dict.fromkeys((*left, *(drift.finding_id for drift in due))):
            if not (members := self._members_of(finding_id)):
                continue  # the last one left it, too
            reach = partial(self._consequences.of, self._state.known, members)
            finding = finding_of(members, reach)
            if (told := self._state.findings.get(finding_id)) is not None:
                # An alert goes by them, so they stay as they were said first.
                finding = replace(finding, detector=told.detector, object=told.object)
            self._state.findings[finding_id] = finding
            self.news.findings.append(finding)
        self.dirty = True

    def _leave(self, key: Key, drift: OpenDrift) -> list[str]:
        """It belongs to another finding from now on. Returns the one that it was in, if that goes
        on without it."""
        before = self._state.open.get(key)
        if before is None or not before.reported or before.finding_id == drift.finding_id:
            return []
        members = self._members[before.finding_id]
        members.discard(key)
        if members:
            return [before.finding_id]
        del self._members[before.finding_id]
        finding = self._state.findings.pop(before.finding_id)
        why = f"since then the statement came that did it, by {drift.actor or 'somebody'}"
        self.news.findings.append(
            replace(finding, resolved_at_us=drift.known_us, sentence=f"{finding.sentence}; {why}")
        )
        return []

    def _at_the_end(self, drifts: Iterable[OpenDrift], now_us: int) -> list[Key]:
        """All of them, with the parts of those that several did."""
        drifts, at_the_end = [*drifts], self._explanations.at_the_end
        waiting = [drift for drift in drifts if not drift.reported]
        due = [told for drift in waiting for told in explained(at_the_end, drift, now_us)]
        if due:
            self.report(
                with_consequences(self._explanations, due, self._state.open.values(), now_us)
            )
        return [*dict.fromkeys(drift.key for drift in (*drifts, *due))]

    def resolve_all(self, keys: Sequence[Key], why: str, now_us: int) -> None:
        """Those that nobody was told of are told together: what they let roles do is worked out
        once for each finding."""
        for key in self._at_the_end([self._state.open[key] for key in keys], now_us):
            self._resolve(key, now_us, why, now_us)

    def resolve(self, key: Key, at_us: int, why: str, now_us: int) -> None:
        """What came and went before anybody was told is still told, with its end."""
        for each in self._at_the_end([self._state.open[key]], now_us):
            self._resolve(each, at_us, why, now_us)

    def _resolve(self, key: Key, at_us: int, why: str, now_us: int) -> None:
        drift = self._state.open[key]
        end: dict[str, Any] = {"resolved_at": at_us, "known_at": now_us}
        if why == REVERTED:
            end["outcome"] = REVERTED
            by = self._explanations.undone_by(drift, at_us, drift.detected_at_us)
            if by is not None:
                end |= {"resolved_by": by.actor, "resolved_statement_id": by.id}
                why = f"{REVERTED} by {by.actor}"
        del self._state.open[key]
        members = self._members[drift.finding_id]
        members.discard(key)
        self.news.rows.append(row_of(drift) | end)
        self.dirty = True
        if not members:
            del self._members[drift.finding_id]
            finding = self._state.findings.pop(drift.finding_id)
            self.news.findings.append(
                replace(
                    finding, resolved_at_us=at_us, sentence=f"{finding.sentence}; since then {why}"
                )
            )

    def _members_of(self, finding_id: str) -> list[OpenDrift]:
        return [self._state.open[key] for key in self._members.get(finding_id, ())]
