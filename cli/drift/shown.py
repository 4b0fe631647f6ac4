"""Differences as lines for a terminal: hostile names do no harm there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from cli.context import printable
from cli.lines import SEVERITY_STYLE, clock
from collector.drift.baseline import Difference
from collector.drift.clauses import describe, word_of
from collector.drift.lines import parts
from collector.drift.state import ALREADY
from model.catalog import Attribution, CatalogKind, DriftChange

VALUE_WIDTH = 60
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
    for part in found:
        if part.before is not None:
            yield Text(f"  - {_line(part.key, part.before)}", style="red")
        if part.after is not None:
            yield Text(f"  + {_line(part.key, part.after)}", style="green")
    if not found and difference.change is DriftChange.CHANGED:
        yield Text(f"  {printable(describe(kind, difference))}", style="yellow")


def _line(key: str, text: str) -> str:
    if not key:
        return printable(text) or "(empty)"
    return printable(f"{key}: {text}" if text else key)


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


def shortened(value: object, width: int = VALUE_WIDTH) -> str:
    text = printable(str(value if value is not None else ""))
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.replace("[", "\\[")


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
    return SO_ALREADY if str(row.get("note") or "").startswith(ALREADY) else NOBODY
