"""Captured statements against expected ones. Pure."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence

from tests.conformance.expected import SUCCESS, Captured, Comparison, Difference, Expected, Nested
from tests.conformance.measures import answers, stretches
from tests.conformance.messages import shape_of

Check = Callable[[Expected, Captured], tuple[object, object]]
CHECKS: dict[str, Check] = {
    "text": lambda e, c: (e.text, c.text),
    "user": lambda e, c: (e.user, c.user),
    "database": lambda e, c: (e.database, c.database),
    "application_name": lambda e, c: (e.application_name, c.application_name),
    "client_address": lambda e, c: (e.client_address, c.client_address),
    "protocol": lambda e, c: (e.protocol, c.protocol),
    "rows": lambda e, c: (e.outcome.rows, c.rows),
    "sqlstate": lambda e, c: (e.outcome.sqlstate, c.sqlstate),
    "error_message": lambda e, c: (shape_of(e.outcome), c.error_message),
    "transaction": lambda e, c: (e.transaction, _followed(e, c)),
    "text_bytes": lambda e, c: (e.text_bytes, c.text_bytes),
}
"""Field -> what it should be and what it is."""


def _followed(one: Expected, row: Captured) -> str:
    """Of several statements in one round trip some may be answered, and recorded, before its end:
    what becomes of the transaction is not known then."""
    known = row.transaction
    if one.shared and known[:1] == one.transaction[:1] and known[1:] == "?":
        return one.transaction
    return known


def compare(expected: Sequence[Expected], captured: Iterable[Captured]) -> Comparison:
    """All of one scenario. ``expected`` is in the order in which the client sent it."""
    rows = sorted(captured, key=lambda row: row.id)
    tops = [row for row in rows if row.parent_id == 0]
    children: dict[int, list[Captured]] = defaultdict(list)
    for row in rows:
        if row.parent_id:
            children[row.parent_id].append(row)
    pairs, missing, duplicated, unexpected = _pair(expected, tops)
    wrong = [*answers(pairs), *stretches(pairs)]
    for one, row in pairs:
        wrong += _differences(one, row)
        inner = _Nested(row, children)
        inner.compare(one.outcome.nested, row)
        missing += inner.missing
        duplicated += inner.duplicated
        unexpected += inner.unexpected
        wrong += inner.wrong
    known = {row.id for row in rows}
    orphans = [row.text for row in rows if row.parent_id and row.parent_id not in known]
    return Comparison(
        expected=sum(len(_texts(one)) for one in expected),
        captured=len(rows),
        missing=tuple(missing),
        duplicated=tuple(duplicated),
        unexpected=tuple(unexpected + orphans),
        wrong=tuple(wrong),
    )


def _pair(expected, captured):
    """Equal texts pair in order. Of the rest, a text that was expected is there too often; others
    take the place of what is missing, with a wrong text."""
    by_text = defaultdict(deque)
    for row in captured:
        by_text[row.text].append(row)
    pairs, unpaired = [], []
    for one in expected:
        queue = by_text.get(one.text)
        if queue:
            pairs.append((one, queue.popleft()))
        else:
            unpaired.append(one)
    texts = {one.text for one in expected}
    rest = sorted((row for queue in by_text.values() for row in queue), key=lambda row: row.id)
    duplicated = [row.text for row in rest if row.text in texts]
    others = [row for row in rest if row.text not in texts]
    pairs += zip(unpaired, others, strict=False)
    missing = [text for one in unpaired[len(others) :] for text in _texts(one)]
    return pairs, missing, duplicated, [row.text for row in others[len(unpaired) :]]


def _texts(one: Expected | Nested) -> list[str]:
    inner = one.outcome.nested if isinstance(one, Expected) else one.nested
    return [one.text, *(text for child in inner for text in _texts(child))]


def _differences(one: Expected, row: Captured) -> list[Difference]:
    found = [
        Difference(name, one.text, str(wanted), str(got))
        for name, check in CHECKS.items()
        for wanted, got in (check(one, row),)
        if wanted != got
    ]
    duration = row.duration_us
    if duration is None or not max(one.at_least_us, 1) <= duration <= one.at_most_us:
        limits = f"{max(one.at_least_us, 1)}..{one.at_most_us}"
        found.append(Difference("duration_us", one.text, limits, str(duration)))
    return found + _preparation(one, row)


def _preparation(one: Expected, row: Captured) -> list[Difference]:
    """Told of the first statement of a message, if it began; a part of its duration."""
    told, at_least_us = row.preparation_us, int(one.outcome.preparing_seconds * 1e6)
    if told is not None and at_least_us <= told <= (row.duration_us or 0):
        return []
    succeeded = one.outcome.sqlstate == SUCCESS
    if told is None and not (one.prepared and succeeded):
        return []
    wanted = f"{at_least_us}..{row.duration_us}"
    return [Difference("preparation_us", one.text, wanted, str(told))]


class _Nested:
    """What ran inside one statement, at any depth."""

    def __init__(self, top: Captured, children: dict[int, list[Captured]]) -> None:
        self.missing: list[str] = []
        self.duplicated: list[str] = []
        self.unexpected: list[str] = []
        self.wrong: list[Difference] = []
        self._top = top
        self._children = children

    def compare(self, expected: Sequence[Nested], parent: Captured) -> None:
        inner = self._children.get(parent.id, [])
        pairs, missing, duplicated, unexpected = _pair(expected, inner)
        self.missing += missing
        self.duplicated += duplicated
        self.unexpected += unexpected
        for one, row in pairs:
            self._fields(one, row)
            self.compare(one.nested, row)

    def _fields(self, one: Nested, row: Captured) -> None:
        """Who and where from are the parent's."""
        fields: dict[str, tuple[object, object]] = {
            "text": (one.text, row.text),
            "text_bytes": (len(one.text.encode()), row.text_bytes),
        }
        if one.rows is not None:
            fields["rows"] = (one.rows, row.rows)
        for name in ("user", "database", "application_name", "client_address"):
            fields[name] = (getattr(self._top, name), getattr(row, name))
        for name, (wanted, got) in fields.items():
            if wanted != got:
                self.wrong.append(Difference(f"nested {name}", one.text, str(wanted), str(got)))
