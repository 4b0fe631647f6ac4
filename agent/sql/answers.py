"""The worker's answer as a Shape. It may have been taken over by a text: no type is believed."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import Any

from agent.sql.decoding import decoded
from agent.sql.glance import HARMLESS, is_harmless
from agent.sql.redact import MAX_REDACTED_CHARS, leading_verb, redact_unscanned
from agent.sql.skeleton import has_skeleton, is_utf8, literals_in
from model.statement import ParseStatus, Shape

_LISTS = (
    "verbs", "objects", "reads", "writes", "columns", "functions", "settings", "roles", "flags",
    "changes",
)  # fmt: skip
SHOWN_BYTES = 8 * MAX_REDACTED_CHARS + 4
"""At most so much of a text that nobody parses is looked at to show it: more than redaction takes,
and a letter has four bytes at most. Decoding what is no UTF-8 takes its time."""
_PART_TEXTS = ("operation", "summary")
_TEXTS = ("redacted_text", *_PART_TEXTS, "fingerprint")


def without_tree(
    text: bytes, status: ParseStatus, *, harmless: bool | None = None, full_length: int = 0
) -> Shape:
    """``harmless``: whether it is, where that has been found out. ``full_length``: of a text that
    is cut; its digest is that of no whole text, for none has a NUL in it, and of none of another
    length."""
    redacted = redact_unscanned(decoded(text[:SHOWN_BYTES]))
    known = text + b"\0%d" % full_length if full_length else text
    return _named(Shape(status, hashlib.sha256(known).hexdigest(), redacted), text, harmless)


def _named(shape: Shape, text: bytes, harmless: bool | None = None) -> Shape:
    """A statement without parse tree still has a first word, and is or is not harmless."""
    verb = leading_verb(shape.redacted_text)
    if harmless is None:
        harmless = shape.status is not ParseStatus.CUT and is_harmless(text)
    return Shape(
        shape.status,
        shape.digest,
        shape.redacted_text,
        operation=verb,
        summary=verb.upper(),
        flags=(HARMLESS,) if harmless else (),
    )


def shape_of(text: bytes, answer: object) -> Shape:
    """The worker's answer as a Shape; it may have been taken over by a text, so believe no type."""
    if not isinstance(answer, dict) or not _well_formed(answer):
        return without_tree(text, ParseStatus.FAILED)
    status = ParseStatus(answer["status"])
    if status is not ParseStatus.PARSED and not answer["redacted_text"]:
        return without_tree(text, status)
    fields: dict[str, Any] = {key: tuple(answer[key]) for key in _LISTS}
    fields |= {key: answer[key] for key in _TEXTS}
    if answer["parts"]:
        fields["parts"] = tuple(_part(each, text) for each in answer["parts"])
        fields["starts"] = _places(answer["starts"], text)
    digest = hashlib.sha256(_without_password(text, answer)).hexdigest()
    shape = Shape(status=status, digest=digest, statements=answer["statements"], **fields)
    return shape if status is ParseStatus.PARSED else _named(shape, text)


def _part(answer: dict[str, Any], text: bytes) -> Shape:
    if answer["status"] != ParseStatus.PARSED:
        return without_tree(text, ParseStatus(answer["status"]))
    fields: dict[str, Any] = {key: tuple(answer[key]) for key in _LISTS}
    fields |= {key: answer[key] for key in _PART_TEXTS}
    return Shape(ParseStatus.PARSED, "", "", **fields)


def _places(starts: list[int], text: bytes) -> tuple[tuple[int, int], ...]:
    """So that they hold for a text with other literals too."""
    if not has_skeleton(text) and not is_utf8(text):
        return ()  # the parser has seen other bytes than these
    ends = [0, *(literal.end for literal in literals_in(text))]
    places = []
    for start in starts:
        before = bisect_right(ends, start) - 1
        places.append((before, start - ends[before]))
    return tuple(places)


def part_at(shape: Shape, text: bytes, place: int) -> int | None:
    """Which of the parts of ``shape``, that of ``text``, the byte at ``place`` is in; None where
    nobody can say."""
    if not shape.starts or not 0 <= place < len(text):
        return None
    ends = [0, *(literal.end for literal in literals_in(text))]
    if shape.starts[-1][0] >= len(ends):
        return None
    found = bisect_right([ends[before] + more for before, more in shape.starts], place) - 1
    return found if found >= 0 else None


def _without_password(text: bytes, answer: dict[str, Any]) -> bytes:
    """A hash of a text with a password in it could be searched for the password."""
    return answer["redacted_text"].encode() if "password" in answer["flags"] else text


def _well_formed(answer: dict[str, Any]) -> bool:
    if answer.get("status") not in _STATUSES or type(answer.get("statements")) is not int:
        return False
    return _has_fields(answer, _TEXTS) and _well_parted(answer)


def _well_parted(answer: dict[str, Any]) -> bool:
    parts, starts = answer.get("parts"), answer.get("starts")
    if type(parts) is not list or type(starts) is not list:
        return False
    return (
        all(
            type(part) is dict
            and part.get("status") in _STATUSES
            and _has_fields(part, _PART_TEXTS)
            for part in parts
        )
        and all(type(start) is int for start in starts)
        and starts == sorted(starts)
    )


def _has_fields(answer: dict[str, Any], texts: tuple[str, ...]) -> bool:
    for key in texts:
        if type(answer.get(key)) is not str:
            return False
    for key in _LISTS:
        items = answer.get(key)
        if type(items) is not list or not _ONLY_TEXT.issuperset(map(type, items)):
            return False
    return True


_ONLY_TEXT = frozenset({str})


def decisive_in(answer: object, text: bytes) -> tuple[int, ...] | None:
    """Believed only as far as the indices exist."""
    given = answer.get("decisive") if isinstance(answer, dict) else None
    if type(given) is not list:
        return None
    if not given:
        return ()
    indices = range(sum(1 for _ in literals_in(text)))
    if not all(type(index) is int and index in indices for index in given):
        return None
    return tuple(sorted(set(given)))


_STATUSES = frozenset(status.value for status in ParseStatus)
