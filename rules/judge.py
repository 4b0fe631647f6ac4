"""The judge with a memory: what was judged once is answered in a microsecond or two."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, fields
from operator import attrgetter
from threading import Lock

from model.statement import ParseStatus, Shape
from rules.ruleset import Judgement, Match, RuleSet
from rules.view import View, key_attributes

DEFAULT_CAPACITY = 16_384
NOT_JUDGED = frozenset(("digest", "redacted_text", "fingerprint", "statements"))
SHAPE_ATTRIBUTES = tuple(
    f"shape.{field.name}" for field in fields(Shape) if field.name not in NOT_JUDGED
)
"""``FIELDS`` of the view reads these and no others; tests/rules/test_judge.py proves it."""


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
    rules that ask for no address do not judge again for every client.
    """

    def __init__(self, rules: RuleSet, capacity: int = DEFAULT_CAPACITY) -> None:
        self.rules = rules
        self._capacity = capacity
        self._key_of = attrgetter(*SHAPE_ATTRIBUTES, *key_attributes(rules.fields))
        self._known: OrderedDict[Hashable, Judgement] = OrderedDict()
        self._lock = Lock()
        self._judged = 0
        self._cached = 0
        self._unparsed: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def judge(self, view: View) -> tuple[Match, ...]:
        matches = self.known(view)
        if matches is not None:
            return matches
        judgement = self.rules.consider(view)
        self._keep(self._key_of(view), view, judgement)
        if judgement.undecided:
            self._count(judgement)
        return judgement.matches

    def known(self, view: View) -> tuple[Match, ...] | None:
        """As ``judge``, if it was judged before; None else. Never evaluates a rule."""
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
        return known.matches

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
