"""The judge with a memory: what was judged once is answered in a microsecond or two."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, fields
from operator import attrgetter
from threading import Lock

from model.session import Session
from model.statement import NOT_JUDGED, Facts, ParseStatus, Shape
from rules.calendar import MINUTE_US, NO_MOMENT
from rules.history import History
from rules.ruleset import Judgement, Match, RuleSet
from rules.usage import Usage
from rules.view import View, key_attributes

DEFAULT_CAPACITY = 16_384
PLAIN_CAPACITY = 1_024
APART = frozenset(("text_bytes", "moment", "usual_rows"))
"""Where rules look at these, statements of one form in one session are not alike."""
SHAPE_ATTRIBUTES = tuple(
    f"shape.{field.name}" for field in fields(Shape) if field.name not in NOT_JUDGED
)
"""``FIELDS`` of the view reads these and no others (tests/rules/test_judge.py proves it), so
``Shape.judged`` stands for them."""


@dataclass(frozen=True, slots=True)
class JudgeCounts:
    judged: int
    cached: int
    unparsed: tuple[tuple[str, int], ...]
    """By rule: statements it could not decide because they were not parsed."""
    failed: tuple[tuple[str, int], ...]
    """By rule: evaluations that ended in an error. A rule in this list needs mending."""


class Judge:
    """Rules with a bounded cache, least recently used out first; safe to share between threads.

    The key is what rules can see of the statement (not its text: those that differ in literals only
    are judged once) and just those attributes of session and identity that some rule looks at:
    rules that ask for no address do not judge again for every client. Of the time it is what some
    rule looks at; what limits have used up is asked each time.
    """

    def __init__(
        self,
        rules: RuleSet,
        capacity: int = DEFAULT_CAPACITY,
        usage: Usage | None = None,
        history: History | None = None,
    ) -> None:
        """``usage`` knows who has used up which limit, ``history`` what shapes have brought; both
        may outlive these rules."""
        self.rules = rules
        self.usage = usage or Usage()
        self.history = history or History()
        self.looks_back = "statement.usual_rows" in rules.fields
        """What it says depends on the fingerprint as well."""
        self._capacity = capacity
        self._moment = (-1, NO_MOMENT)
        keys = key_attributes(rules.fields)
        if rules.timed and "moment" not in keys:
            keys = (*keys, "moment")  # an exception has a last day
        self._alike = APART.isdisjoint(keys)
        self._plain: dict[tuple[int, Facts], tuple[Session, Judgement]] = {}
        """With the session, whose number stays its own for as long as it is kept."""
        self._key_of = attrgetter("shape.judged", "partly", *keys)
        self._known: OrderedDict[Hashable, Judgement] = OrderedDict()
        self._lock = Lock()
        self._judged = 0
        self._cached = 0
        self._unparsed: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def judge(self, view: View) -> tuple[Match, ...]:
        """Rules that match, then limits that are used up."""
        return self.matches(self.consider(view), view)

    def consider(self, view: View) -> Judgement:
        """What rules say, whatever has been used."""
        view = self._completed(view)
        judgement = self._known_judgement(view)
        if judgement is not None:
            return judgement
        judgement = self.rules.consider(view)
        self._keep(self._key_of(view), view, judgement)
        if judgement.undecided:
            self._count(judgement)
        return judgement

    def consider_plain(
        self, shape: Shape, session: Session, text_bytes: int, at_us: int
    ) -> Judgement:
        """The same of a statement without a plan. Of most the answer is known by form and session,
        and no View is made."""
        key = id(session), shape.judged
        known = self._plain.get(key)
        if known is not None:
            with self._lock:
                self._judged += 1
                self._cached += 1
            return known[1]
        judgement = self.consider(View(shape, session, text_bytes, at_us=at_us))
        if self._alike and not judgement.undecided and shape.status is not ParseStatus.FAILED:
            if len(self._plain) >= PLAIN_CAPACITY:
                self._plain.clear()
            self._plain[key] = session, judgement
        return judgement

    def matches(self, judgement: Judgement, view: View) -> tuple[Match, ...]:
        if not judgement.limits:
            return judgement.matches
        over = []
        for limit in judgement.limits:
            used = self.usage.used_up(limit, view.session)
            if used is not None and used.since_us <= view.at_us:
                figures = used.sentence(view.at_us, self.usage.window_seconds)
                over.append(Match(limit.rule, f"{limit.rule.message}: {figures}"))
        return (*judgement.matches, *over)

    def learn(self, shape: Shape, rows: int) -> None:
        """One execution has brought so many rows."""
        if self.looks_back:
            self.history.observe(shape.fingerprint, rows)

    def _completed(self, view: View) -> View:
        """With what the answer depends on beside statement and session."""
        if self.looks_back and view.usual_rows is None:
            view = view._replace(usual_rows=self.history.usual_rows(view.shape.fingerprint))
        if not self.rules.timed or view.moment is not None:
            return view
        minute, moment = self._moment
        if minute != view.at_us // MINUTE_US:
            moment = self.rules.moment(view.at_us)
            self._moment = view.at_us // MINUTE_US, moment
        return view._replace(moment=moment)

    def _known_judgement(self, view: View) -> Judgement | None:
        key = self._key_of(view)
        with self._lock:
            known = self._known.get(key)
            if known is None:
                return None
            self._judged += 1
            self._cached += 1
            self._known.move_to_end(key)
        if known.undecided:
            self._count(known)
        return known

    def counts(self) -> JudgeCounts:
        with self._lock:
            return JudgeCounts(
                self._judged,
                self._cached,
                tuple(sorted(self._unparsed.items())),
                tuple(sorted(self._failed.items())),
            )

    def _keep(self, key: Hashable, view: View, judgement: Judgement) -> None:
        with self._lock:
            self._judged += 1
            if view.shape.status is ParseStatus.FAILED:
                return  # the parser died under this text; it may do better next time
            self._known[key] = judgement
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)

    def _count(self, judgement: Judgement) -> None:
        with self._lock:
            for each in judgement.undecided:
                (self._failed if each.failed else self._unparsed)[each.rule_id] += 1
