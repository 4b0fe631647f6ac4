"""From candidates to findings that a person sees: calibrated, weighed together, within a budget.

Candidates are taken one by one in the order of their arrival, at their own time: how they are cut
into batches changes nothing. No clock is read; the last step's time bounds what a wrong clock of
an agent can do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from analytics.findings import CLAIMED, DAY_US
from analytics.gate.calibration import Calibration, calibrate, due, evidence
from analytics.gate.cases import Case, current
from analytics.gate.feedback import LEAST_DISMISSED_BITS, Feedback, Opinion, Opinions
from analytics.gate.history import History, Seen, Who, who_of
from analytics.gate.mutes import Mute
from analytics.gate.settings import (
    BY_RULE,
    FOLLOWS_A_RELEASE,
    PERFORMANCE,
    RELEASED,
    TROUBLE,
    GateSettings,
)
from analytics.gate.sorts import ARRIVAL, PASSWORD, detector_of, sort_of
from analytics.gate.tail import MAX_BITS, MAX_SCORE
from analytics.gate.weights import ORDINARY_BITS
from model.finding import Finding, FindingKind
from model.verdict import Severity

LEAST_A_DAY = 3.0
"""So many cases a day are no flood, however few identities there are."""
FLOOD_DAYS, FLOOD_BITS = 3.0, 2.0
RELEASE = "application_change"
PERFORMANCE_OF = "performance of "
ERRORS = "error_burst"


class Reason(StrEnum):
    """Why nobody was told of a candidate."""

    BELOW_THRESHOLD = "below_threshold"
    FOLDED = "folded"
    MUTED_MAINTENANCE = "muted_maintenance"
    MUTED_DEPLOYMENT = "muted_deployment"
    DISMISSED = "dismissed"
    INVALID_SCORE = "invalid_score"


@dataclass(frozen=True)
class Raised:
    finding: Finding
    """With details ``bits``, ``evidence``, ``case``, ``agrees``, ``threshold`` and ``budget``."""
    bits: float = 0.0
    evidence: float = 0.0
    case: str = ""
    agrees: tuple[str, ...] = ()
    threshold: float = 0.0


@dataclass(frozen=True)
class Agreement:
    """Independent detectors were sure of the same identity within minutes."""

    finding: Finding
    """The candidate that made it so, raised or folded."""
    detectors: tuple[str, ...]
    """The others."""
    case: str


@dataclass(frozen=True)
class Gate:
    settings: GateSettings = field(default_factory=GateSettings)
    mutes: tuple[Mute, ...] = ()
    history: History = field(default_factory=History)
    calibration: Calibration = field(default_factory=Calibration)
    cases: Mapping[Who, Case] = field(default_factory=dict)
    opinions: Opinions = field(default_factory=Opinions)
    releases: Mapping[Who, int] = field(default_factory=dict)
    """When a program was last told to have changed."""
    told: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ids of today's findings that passed by rule."""
    day: int = 0
    raised_today: int = 0
    now_us: int = 0
    suppressed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By detector and reason, since the beginning."""
    agreements: tuple[Agreement, ...] = ()
    """Of the last step alone."""

    def step(
        self, candidates: Sequence[Finding], identities: int, at_us: int
    ) -> tuple[Gate, list[Raised]]:
        """``identities``: how many were active on the day of ``at_us`` so far. ``at_us``: when the
        candidates came; what claims to be later is taken to be of then."""
        history = self.history
        for finding in candidates:
            history = history.looked(0, min(finding.at_us, at_us), identities)
        history = history.looked(identities, at_us)
        if not candidates:
            return replace(self, history=history, agreements=()), []
        work = _Step(replace(self, history=history), at_us)
        raised = [each for finding in candidates if (each := work.take(finding)) is not None]
        return work.gate(), raised

    def observe(self, candidates: Sequence[Finding], now_us: int) -> tuple[Gate, list[Finding]]:
        """As ``step``, with as many identities as on the last day that was looked at."""
        known = self.history.identities
        identities = known[max(known)] if known else 1
        after, raised = self.step(candidates, identities, now_us)
        return after, [each.finding for each in raised]

    def heard(self, feedback: Feedback) -> Gate:
        """Somebody judged a finding: its threshold moves from now on."""
        right = feedback.opinion is Opinion.CONFIRMED
        history = self.history
        change = history.without if right else history.as_ordinary
        return replace(
            self, opinions=self.opinions.with_(feedback), history=change(feedback.finding_id)
        )


class _Step:
    """The state of one step while it is made; the Gate that it began from stays as it was."""

    def __init__(self, gate: Gate, at_us: int) -> None:
        self._gate = gate
        self._settings = gate.settings
        self._latest_us = at_us
        self._history = gate.history
        self._calibration = gate.calibration
        self._now_us = gate.now_us
        self._peaks = dict(gate.history.peaks)
        self._own: set[str] = set()
        self._cases = dict(gate.cases)
        self._releases = dict(gate.releases)
        self._told = dict(gate.told)
        self._suppressed = dict(gate.suppressed)
        self._day, self._raised_today = gate.day, gate.raised_today
        self._agreements: list[Agreement] = []

    def gate(self) -> Gate:
        return replace(
            self._gate,
            history=replace(self._history, peaks=self._peaks),
            calibration=self._calibration,
            cases=self._cases,
            releases=self._releases,
            told=self._told,
            day=self._day,
            raised_today=self._raised_today,
            now_us=self._now_us,
            suppressed=self._suppressed,
            agreements=tuple(self._agreements),
        )

    def take(self, finding: Finding) -> Raised | None:
        at_us = min(finding.at_us, self._latest_us)
        self._advance(at_us)
        if finding.kind is not FindingKind.ANOMALY or finding.detector in BY_RULE:
            return self._by_rule(finding, at_us)
        unheard = self._unheard(finding, at_us)
        if unheard is not None:
            self._not(finding, unheard)
            return None
        return self._judge(finding, min(max(finding.score, 0.0), MAX_SCORE), at_us)

    def _advance(self, at_us: int) -> None:
        """Time does not go back, a late candidate belongs to today's budget; unless our own clock
        was days ahead and has been set right."""
        if self._now_us - self._latest_us > DAY_US:
            self._now_us, self._day = self._latest_us, self._latest_us // DAY_US
            self._raised_today, self._told = 0, {}
            self._calibration = replace(self._calibration, at_us=-1)
        self._now_us = max(self._now_us, at_us)
        if self._now_us // DAY_US > self._day:
            self._day, self._raised_today, self._told = self._now_us // DAY_US, 0, {}
        if due(self._calibration, self._history, self._now_us):
            self._refresh()

    def _refresh(self) -> None:
        settings, now_us = self._settings, self._now_us
        history = replace(self._history, peaks=self._peaks)
        self._history = history.forgotten(now_us, settings.history_days, settings.max_peaks)
        self._peaks, self._own = dict(self._history.peaks), set()
        self._calibration = calibrate(self._history, settings, now_us)
        self._releases = {
            who: at_us
            for who, at_us in self._releases.items()
            if now_us - at_us <= settings.deployment_seconds * 1e6
        }
        living = ((who, case) for who, case in self._cases.items() if _lives(case, now_us))
        self._cases = dict(sorted(living, key=lambda each: (each[1].last_us, each[0])))

    def _by_rule(self, finding: Finding, at_us: int) -> Raised | None:
        if finding.detector == RELEASE and _is_release(finding, self._settings):
            self._releases[who_of(finding)] = max(at_us, self._releases.get(who_of(finding), 0))
        known = self._told.get(finding.detector, frozenset())
        limit = self._settings.by_rule_per_day
        if finding.id in known or (finding.detector in BY_RULE and len(known) >= limit):
            self._not(finding, Reason.FOLDED)
            return None
        self._told[finding.detector] = known | {finding.id}
        return Raised(finding)

    def _unheard(self, finding: Finding, at_us: int) -> Reason | None:
        """Why it is not even learnt."""
        if not math.isfinite(finding.score):
            return Reason.INVALID_SCORE
        if any(mute.covers(finding, at_us) for mute in self._gate.mutes):
            return Reason.MUTED_MAINTENANCE
        released = self._releases.get(who_of(finding))
        if released is None or finding.detector not in FOLLOWS_A_RELEASE:
            return None
        recent = 0 <= at_us - released <= self._settings.deployment_seconds * 1e6
        return Reason.MUTED_DEPLOYMENT if recent else None

    def _judge(self, finding: Finding, score: float, at_us: int) -> Raised | None:
        settings, who = self._settings, _whose(finding)
        sort, cause = sort_of(finding), (finding.detector, finding.object)
        claimed = score + settings.claim_margin
        most = _most_bits(finding, settings)
        if most < MAX_BITS:
            # In the history as well, or releases would make what people do look ordinary.
            score = min(score, self._calibration.tail(sort).score_at(most))
        unmoved = self._calibration.bits(
            replace(self._history, peaks=self._peaks), settings, sort, who, score, at_us
        )
        # Also here: of a detector that says little, whatever it says is seldom.
        unmoved = min(unmoved, most, claimed)
        moved = self._gate.opinions.shift(finding.detector, who, finding.object)
        bits = max(0.0, unmoved - moved)
        case = current(self._cases.get(who), who, at_us, settings)
        if not case.is_news(cause, bits, settings):
            self._remember(finding, who, score, at_us, case)
            self._cases[who] = case
            self._not(finding, Reason.FOLDED)
            return None
        others = {
            other: more
            for other, more in case.decayed(at_us, settings).items()
            if detector_of(other) != finding.detector
        }
        sure = 0.0 if CLAIMED in finding.details else min(bits, unmoved)
        case = case.taken(sort, cause, bits, at_us, finding.statement_id, settings, sure=sure)
        weighed = evidence(case.decayed(at_us, settings), settings)
        limit = self._limit(case)
        raised = None
        if weighed >= limit:
            # One that is raised again is no other: its noise must not hide somebody else's case.
            self._raised_today += not case.raised
            case = case.told(finding.id, weighed, at_us)
            raised = self._raised(finding, case, bits, weighed, others, limit, moved)
        elif case.raised:
            self._not(finding, Reason.FOLDED)
        elif moved >= LEAST_DISMISSED_BITS:
            self._not(finding, Reason.DISMISSED)
        else:
            self._not(finding, Reason.BELOW_THRESHOLD)
        self._remember(finding, who, score, at_us, case)
        self._cases[who] = case
        self._bound_cases()
        self._agree(finding, case, sure, at_us)
        return raised

    def _limit(self, case: Case) -> float:
        """Evidence that it takes now: above what was told, or above the budget's threshold, which
        rises in a flood."""
        if case.raised:
            return case.raised_bits + self._settings.new_extreme_bits
        identities = self._history.identities.get(self._day, 0)
        usual = max(LEAST_A_DAY, FLOOD_DAYS * self._settings.rate * identities)
        flood = max(0.0, self._raised_today + 1 - usual) / usual
        return self._calibration.threshold + FLOOD_BITS * flood * flood

    def _raised(
        self,
        finding: Finding,
        case: Case,
        bits: float,
        weighed: float,
        others: Mapping[str, float],
        limit: float,
        moved: float,
    ) -> Raised:
        settings = self._settings
        agree = {detector_of(sort) for sort, more in others.items() if more > ORDINARY_BITS}
        agrees = tuple(sorted(agree))
        days = self._history.days_of(sort_of(finding), self._now_us)
        details = [
            ("bits", f"{bits:.2f}"),
            ("evidence", f"{weighed:.2f}"),
            ("case", case.id),
            ("agrees", ", ".join(agrees)),
            ("threshold", f"{limit:.2f}"),
            ("budget", f"{settings.alerts_per_day_per_100_identities:g} a day per 100 identities"),
            ("calibration_days", f"{days:.1f}"),
        ]
        if moved:
            details.append(("moved_by_feedback", f"{moved:+.2f}"))
        new = replace(finding, severity=_heard(finding), details=(*finding.details, *details))
        return Raised(new, bits, weighed, case.id, agrees, limit)

    def _remember(self, finding: Finding, who: Who, score: float, at_us: int, case: Case) -> None:
        """One peak for each identity and day. What belongs to a raised case counts as at least
        what was enough to be raised."""
        sort, key = sort_of(finding), (at_us // DAY_US, who)
        if sort not in self._own:
            self._peaks[sort] = dict(self._peaks.get(sort, {}))
            self._own.add(sort)
        days = self._peaks[sort]
        assert isinstance(days, dict)
        before = days.get(key, Seen(0.0))
        cap, finding_id = before.cap, before.finding_id
        if case.raised:
            enough = self._calibration.tail(sort).score_at(self._calibration.threshold)
            cap, finding_id = min(cap, enough, max(score, before.score)), case.finding_id
        days[key] = Seen(max(score, before.score), cap, finding_id)

    def _agree(self, finding: Finding, case: Case, sure: float, at_us: int) -> None:
        settings, history = self._settings, self._history
        if not case.raised or sure < settings.agree_bits:
            return
        sort = sort_of(finding)
        others = {
            detector_of(other)
            for other in case.agreeing(sort, at_us, settings)
            if history.days_of(other, at_us) >= settings.agree_history_days
        }
        if others and history.days_of(sort, at_us) >= settings.agree_history_days:
            self._agreements.append(Agreement(finding, tuple(sorted(others)), case.id))

    def _bound_cases(self) -> None:
        """The one whose turn came longest ago goes; a new one is the last."""
        if len(self._cases) > self._settings.max_cases:
            del self._cases[next(iter(self._cases))]

    def _not(self, finding: Finding, reason: Reason) -> None:
        key = (finding.detector, reason.value)
        self._suppressed[key] = self._suppressed.get(key, 0) + 1


def _whose(finding: Finding) -> Who:
    """Whose case it is. Performance is a case of its own."""
    who = who_of(finding)
    return (
        who._replace(identity=f"{PERFORMANCE_OF}{who.identity}")
        if (finding.detector in PERFORMANCE)
        else who
    )


def _most_bits(finding: Finding, settings: GateSettings) -> float:
    """What a candidate may be worth where ordinary life has an explanation for it."""
    if sort_of(finding) == ARRIVAL:
        return settings.arrival_bits
    if finding.detector in FOLLOWS_A_RELEASE and _kind(finding) == RELEASED:
        return settings.release_bits
    wrong_password = finding.detector == ERRORS and CLAIMED in finding.details
    if wrong_password or sort_of(finding) == PASSWORD:
        return settings.claimed_bits
    if finding.detector == ERRORS and finding.object in TROUBLE:
        return settings.trouble_bits
    return MAX_BITS


def _kind(finding: Finding) -> str:
    return dict(finding.details).get("identity_kind", "")


def _is_release(finding: Finding, settings: GateSettings) -> bool:
    shapes = dict(finding.details).get("new_shapes", "")
    many = len(shapes.splitlines()) >= settings.release_shapes
    return many and _kind(finding) == RELEASED


def _heard(finding: Finding) -> Severity:
    """A detector cannot know what a candidate is worth beside all others: what comes through is
    never below what receivers of alerts are told of by default."""
    quiet = finding.severity in (Severity.INFORMATIONAL, Severity.LOW)
    if finding.detector in PERFORMANCE:
        return Severity.LOW
    return Severity.MEDIUM if quiet else finding.severity


def _lives(case: Case, now_us: int) -> bool:
    return now_us - max(case.last_us, case.raised_us) < DAY_US
