"""Differences as lines for a terminal: hostile names do no harm there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.text import Text

from cli.context import printable
from cli.lines import SEVERITY_STYLE, clock
from collector.drift.baseline import Difference
from collector.drift.clauses import describe, word_of
from collector.drift.lines import Part, parts
from collector.drift.members import MEMBER
from collector.drift.state import ALREADY, UNWATCHED
from model.catalog import Attribution, CatalogKind, DriftChange

WHAT_WIDTH = 200
SHOWN_OF_ID = 12
_DIGEST = re.compile(r"(?<=sha256:)([0-9a-f]{12})[0-9a-f]+")
NOBODY = "nobody on the wire"
SO_ALREADY = f"nobody seen: {ALREADY}"
MARKS = {DriftChange.ADDED: "+", DriftChange.REMOVED: "-", DriftChange.CHANGED: "~"}
COLOURS = {DriftChange.ADDED: "green", DriftChange.REMOVED: "red", DriftChange.CHANGED: "yellow"}


def difference_of(row: dict[str, object]) -> Difference:
    """From a row of view ``drift``."""
    return Difference(
        str(row.get("name") or ""),
        DriftChange(str(row.get("change"))),
        str(row.get("desired") or ""),
        str(row.get("observed") or ""),
        ("", ""),
    )


def told_lines(row: dict[str, Any]) -> Iterator[Text]:
    """A row of view ``drift`` for an operator: how bad, when and what; then by whom, where, and the
    finding to explain or accept."""
    who, renamed = made_by(row), row.get("renamed")
    what = describe(CatalogKind(row["kind"]), difference_of(row))
    what = f"{what} ({renamed})" if renamed else what
    yield Text.assemble(
        severity_mark(str(row.get("severity") or "")),
        (f"{clock_of(row.get('occurred_at'))}  ", "dim"),
        cut(_short_digests(printable(what)), WHAT_WIDTH),
    )
    yield Text.assemble(
        (f"{'':13}by {printable(who)}", "red" if who == NOBODY else "cyan"),
        (f"  in {printable(place_of(row))}", "dim"),
        (finding_of(row), "dim"),
    )


def finding_of(row: dict[str, Any]) -> str:
    """Enough of its id for ``explain`` and ``accept --finding``."""
    number = str(row.get("finding_id") or "")[:SHOWN_OF_ID]
    return f"  finding {printable(number)}" if number else ""


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def diff_lines(
    kind: CatalogKind, difference: Difference, *, where: str = "", after: str = ""
) -> Iterator[Text]:
    """A head, then what is gone (-) and what is new (+), line by line."""
    what = f"{word_of(kind, difference.observed or difference.desired)} {difference.name}"
    colour = COLOURS[difference.change]
    yield Text.assemble(
        (f"{MARKS[difference.change]} {printable(what)}", f"bold {colour}"),
        (f"  in {printable(where)}" if where else "", "dim"),
        (f"  {printable(after)}" if after else "", "dim"),
    )
    found = list(parts(kind, difference))
    members = [part for part in found if _is_of_whole_extension(kind, difference, part)]
    for part in found:
        if part in members:
            continue
        if part.before is not None:
            yield Text(f"  - {_line(part.key, part.before)}", style="red")
        if part.after is not None:
            yield Text(f"  + {_line(part.key, part.after)}", style="green")
    if members:
        yield Text(f"  {MARKS[difference.change]} {len(members)} members", style=colour)
    if not found and difference.change is DriftChange.CHANGED:
        yield Text(f"  {printable(describe(kind, difference))}", style="yellow")


def _is_of_whole_extension(kind: CatalogKind, difference: Difference, part: Part) -> bool:
    """What came or went with it says nothing that its name does not; a member that differs does."""
    whole = kind is CatalogKind.EXTENSION and difference.change is not DriftChange.CHANGED
    return whole and part.key.startswith(MEMBER)


def _line(key: str, text: str) -> str:
    if not key:
        return printable(text) or "(empty)"
    return _short_digests(printable(f"{key}: {text}" if text else key))


def _short_digests(text: str) -> str:
    return _DIGEST.sub(r"\1…", text)


def as_json(
    kind: CatalogKind, database: str, difference: Difference, **more: object
) -> dict[str, object]:
    return {
        "kind": str(kind),
        "database": database,
        "name": difference.name,
        "change": str(difference.change),
        "desired": difference.desired,
        "observed": difference.observed,
        "clause": describe(kind, difference),
        **more,
    }


def row_json(row: dict[str, Any]) -> str:
    """Times as ``drift status`` has them: those of the record are UTC, and do not say so.

    >>> row_json({"known_at": datetime(2026, 3, 1, 12)})
    '{"known_at":"2026-03-01T12:00:00.000000Z"}'
    """
    return orjson.dumps(row, default=_word, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


def _word(value: object) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(value, datetime) else str(value)


def severity_mark(severity: str) -> Text:
    return Text(f"{severity:13}", style=SEVERITY_STYLE.get(severity, ""))


def place_of(row: dict[str, object]) -> str:
    return "/".join(str(row[k]) for k in ("agent", "cluster", "database") if row.get(k))


def clock_of(at: object) -> str:
    """``at``: Unix microseconds, ISO 8601 text, or a datetime in UTC."""
    if isinstance(at, int):
        at = datetime.fromtimestamp(at / 1e6, UTC)
    if isinstance(at, datetime) and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return clock(at)


def listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def made_by(row: dict[str, Any]) -> str:
    """Who made the difference that is a row of view ``drift``."""
    if row.get("attribution") != Attribution.UNATTRIBUTED:
        return str(row.get("actor") or "?")
    note = str(row.get("note") or "")
    if UNWATCHED in note:
        return f"nobody seen: {note}"
    return SO_ALREADY if note.startswith(ALREADY) else NOBODY
