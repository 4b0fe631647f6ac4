"""Findings in, Alerts out: which findings are one alert, when it is said again, when it is over.

Pure. A group is keyed by (kind, detector, cluster, object or rule, identity). A difference ends
when every open finding of the group is resolved; everything else ends after a quiet time.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from collector.alerts.plain import plain
from model.alert import Alert, AlertStatus
from model.finding import Finding, FindingKind
from model.verdict import Severity

SECOND_US = 1_000_000
_RANK = {severity: rank for rank, severity in enumerate(Severity)}
_IDS_KEPT = 1000
"""Findings remembered per group, the newest; a replay of an older one would count again."""
_IDS_SENT = 50
TITLE_CHARACTERS = 200
TEXT_CHARACTERS = 1000
LABEL_CHARACTERS = 200
OVERFLOW_OBJECT = "further-findings"
EVENTS = frozenset(("application_change", "drift.baseline"))
"""Detectors whose findings of drift nobody ever resolves."""


def at_least(severity: Severity, floor: Severity) -> bool:
    return _RANK[severity] >= _RANK[floor]


@dataclass(frozen=True, slots=True)
class Policy:
    minimum_severity: Severity = Severity.MEDIUM
    repeat_us: int = 4 * 3600 * SECOND_US
    """A group that goes on firing is said again after this long, if something new happens."""
    quiet_us: int = 900 * SECOND_US
    """Groups without an end of their own are over after this long without a new finding."""
    forget_us: int = 24 * 3600 * SECOND_US
    """Findings of an ended group are remembered this long, so that a replay stays silent."""
    firing_groups: int = 500
    """Beyond this many, findings of new groups share one group per kind: no storm on the pager."""


@dataclass(frozen=True, slots=True)
class Group:
    """The state of one ``group_key``; survives restarts as JSON."""

    alert: Alert
    kind: FindingKind
    seen: tuple[tuple[str, int], ...]
    """(finding id, at_us) of the findings counted."""
    open_ids: tuple[str, ...]
    last_at_us: int
    said_at_us: int
    receivers: tuple[str, ...] = ()
    """Who has been told that it fires, and so must be told that it is over."""

    @property
    def firing(self) -> bool:
        return self.alert.status is AlertStatus.FIRING


def group_key(finding: Finding) -> str:
    """Readable prefix and a hash over the exact parts; well under PagerDuty's 255 characters.

    >>> from model.verdict import Severity
    >>> f = Finding("1", FindingKind.DRIFT, "drift.settings", Severity.HIGH, "t", "s", 0)
    >>> group_key(f).startswith("drift/drift.settings/")
    True
    """
    # What speaks of an agent knows no cluster.
    place = finding.cluster or finding.agent
    parts = (finding.kind.value, finding.detector, place, finding.object, _who(finding))
    return _key(parts)


def _key(parts: tuple[str, ...]) -> str:
    exact = json.dumps(parts).encode()
    readable = "/".join(plain(part, 40) for part in parts[:3] if part)
    return f"{readable}/{hashlib.sha256(exact).hexdigest()[:32]}"


def _who(finding: Finding) -> str:
    return finding.identity or finding.user


class Grouper:
    """Holds the groups; ``take_changes`` gives what must be written before an alert is sent."""

    def __init__(self, policy: Policy, groups: Iterable[Group] = ()) -> None:
        self._policy = policy
        self._groups = {group.alert.group_key: group for group in groups}
        self._key_of_open = {
            i: g.alert.group_key for g in self._groups.values() for i in g.open_ids
        }
        self._firing = sum(group.firing for group in self._groups.values())
        self._changed: set[str] = set()

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(self._groups.values())

    def observe(self, finding: Finding, now_us: int) -> Alert | None:
        """The Alert to send because of this finding, if any."""
        if not finding.id.isascii():
            finding = replace(finding, id=plain(finding.id, LABEL_CHARACTERS))
        if finding.resolved_at_us:
            return self._close_finding(finding, now_us)
        if not at_least(finding.severity, self._policy.minimum_severity):
            return None
        key = self._key_of_open.get(finding.id) or self._key_for(finding)
        group = self._groups.get(key)
        if group is None:
            return self._open(key, finding, now_us)
        if (finding.id, finding.at_us) in group.seen:
            return self._raise_severity(group, finding, now_us)
        if not group.firing:
            return self._open(key, finding, now_us, seen=group.seen)
        return self._count(group, finding, now_us)

    def tick(self, now_us: int) -> list[Alert]:
        """Ends quiet groups and forgets old ones."""
        ended = []
        for group in self.groups:
            quiet_us = now_us - group.last_at_us
            if group.firing and not _ends_by_itself(group) and quiet_us >= self._policy.quiet_us:
                ended.append(self._end(group, now_us))
            elif not group.firing and now_us - group.alert.ends_at_us >= self._policy.forget_us:
                self._forget(group)
        return ended

    def resolve(self, key: str, now_us: int) -> Alert | None:
        group = self._groups.get(key)
        return self._end(group, now_us) if group and group.firing else None

    def told(self, key: str, receivers: Iterable[str]) -> None:
        group = self._groups[key]
        self._put(replace(group, receivers=tuple(sorted({*group.receivers, *receivers}))))

    def take_changes(self) -> tuple[list[Group], list[str]]:
        """Groups to write and keys to delete since the last call."""
        changed, self._changed = self._changed, set()
        kept = [self._groups[key] for key in sorted(changed) if key in self._groups]
        return kept, sorted(key for key in changed if key not in self._groups)

    def restore_changes(self, groups: Iterable[Group], removed: Iterable[str]) -> None:
        """They could not be written; ``take_changes`` will give them again."""
        self._changed |= {group.alert.group_key for group in groups} | set(removed)

    def get(self, key: str) -> Group | None:
        return self._groups.get(key)

    def _key_for(self, finding: Finding) -> str:
        key = group_key(finding)
        group = self._groups.get(key)
        full = self._firing >= self._policy.firing_groups
        if not full or (group is not None and group.firing):
            return key
        return _key((finding.kind.value, OVERFLOW_OBJECT, ""))

    def _open(
        self, key: str, finding: Finding, now_us: int, seen: tuple[tuple[str, int], ...] = ()
    ) -> Alert:
        overflow = key != group_key(finding) and finding.id not in self._key_of_open
        alert = Alert(
            group_key=key,
            status=AlertStatus.FIRING,
            severity=finding.severity,
            title=_overflow_title(finding) if overflow else plain(finding.title, TITLE_CHARACTERS),
            summary=plain(finding.sentence, TEXT_CHARACTERS),
            starts_at_us=finding.at_us,
            ends_at_us=0,
            labels=_labels(finding, overflow=overflow),
            annotations=_annotations(finding),
            finding_ids=(finding.id,),
        )
        self._put(
            Group(
                alert=alert,
                kind=finding.kind,
                seen=(*seen, (finding.id, finding.at_us))[-_IDS_KEPT:],
                open_ids=(finding.id,),
                last_at_us=now_us,
                said_at_us=now_us,
            )
        )
        return alert

    def _count(self, group: Group, finding: Finding, now_us: int) -> Alert | None:
        alert = replace(
            group.alert,
            count=group.alert.count + 1,
            finding_ids=(*group.alert.finding_ids, finding.id)[-_IDS_SENT:],
            summary=plain(finding.sentence, TEXT_CHARACTERS),
        )
        group = replace(
            group,
            alert=alert,
            seen=(*group.seen, (finding.id, finding.at_us))[-_IDS_KEPT:],
            open_ids=tuple(dict.fromkeys((*group.open_ids, finding.id)))[-_IDS_KEPT:],
            last_at_us=now_us,
        )
        self._put(group)
        raised = self._raise_severity(group, finding, now_us)
        if raised is not None:
            return raised
        if now_us - group.said_at_us < self._policy.repeat_us:
            return None
        self._put(replace(group, said_at_us=now_us))
        return alert

    def _raise_severity(self, group: Group, finding: Finding, now_us: int) -> Alert | None:
        before = group.alert.severity
        if not group.firing or _RANK[finding.severity] <= _RANK[before]:
            return None
        labels = tuple((k, v) for k, v in group.alert.labels if k != "severity")
        notes = tuple((k, v) for k, v in group.alert.annotations if k != "previous_severity")
        alert = replace(
            group.alert,
            severity=finding.severity,
            title=plain(finding.title, TITLE_CHARACTERS),
            summary=plain(finding.sentence, TEXT_CHARACTERS),
            labels=(*labels, ("severity", finding.severity.value)),
            annotations=(*notes, ("previous_severity", before.value)),
        )
        self._put(replace(group, alert=alert, last_at_us=now_us, said_at_us=now_us))
        return alert

    def _close_finding(self, finding: Finding, now_us: int) -> Alert | None:
        key = self._key_of_open.get(finding.id)
        group = self._groups.get(key) if key else None
        if group is None or not group.firing:
            return None
        still_open = tuple(i for i in group.open_ids if i != finding.id)
        group = replace(group, open_ids=still_open)
        if still_open:
            self._put(group)
            self._key_of_open.pop(finding.id, None)
            return None
        # Its last words say how it ended.
        summary = plain(finding.sentence, TEXT_CHARACTERS)
        return self._end(replace(group, alert=replace(group.alert, summary=summary)), now_us)

    def _end(self, group: Group, now_us: int) -> Alert:
        alert = replace(group.alert, status=AlertStatus.RESOLVED, ends_at_us=now_us)
        self._put(replace(group, alert=alert, open_ids=()))
        return alert

    def _forget(self, group: Group) -> None:
        del self._groups[group.alert.group_key]
        self._changed.add(group.alert.group_key)

    def _put(self, group: Group) -> None:
        key = group.alert.group_key
        before = self._groups.get(key)
        if before is not None:
            self._firing -= before.firing
            for finding_id in set(before.open_ids) - set(group.open_ids):
                self._key_of_open.pop(finding_id, None)
        self._firing += group.firing
        self._key_of_open.update(dict.fromkeys(group.open_ids, key))
        self._groups[key] = group
        self._changed.add(key)


def _ends_by_itself(group: Group) -> bool:
    """A difference lasts until it is resolved; that a program changed, or a baseline was taken, is
    an event."""
    return group.kind is FindingKind.DRIFT and dict(group.alert.labels)["detector"] not in EVENTS


def _overflow_title(finding: Finding) -> str:
    return f"More {finding.kind.value} findings than alerts can tell apart; see pgwarden findings"


def _labels(finding: Finding, *, overflow: bool) -> tuple[tuple[str, str], ...]:
    """Only what stays the same for the life of the group, and the severity."""
    about = {
        "detector": OVERFLOW_OBJECT if overflow else finding.detector,
        "cluster": "" if overflow else finding.cluster,
        "agent": "" if overflow or finding.cluster else finding.agent,
        "object": "" if overflow else finding.object,
        "identity": "" if overflow else _who(finding),
    }
    labels = {"alertname": "Pgwarden" + finding.kind.value.capitalize(), "kind": finding.kind.value}
    labels |= {name: plain(value, LABEL_CHARACTERS) for name, value in about.items() if value}
    return (*labels.items(), ("severity", finding.severity.value))


def _annotations(finding: Finding) -> tuple[tuple[str, str], ...]:
    notes = {
        "database": finding.database,
        "user": finding.user,
        "evidence_sql": finding.evidence_sql,
        **{f"detail_{plain(name, 40)}": value for name, value in finding.details[:20]},
    }
    return tuple((name, plain(value, TEXT_CHARACTERS)) for name, value in notes.items() if value)
