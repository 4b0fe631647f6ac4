"""One line of the doctor's report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from cli.context import printable


class Mark(StrEnum):
    GOOD = "✓"
    WARN = "!"
    BAD = "✗"


@dataclass(frozen=True, slots=True)
class Check:
    aspect: str
    mark: Mark
    sentence: str
    remedy: str = ""
    """Ready to paste: SQL for psql, or commands. What is neither stands in comments."""
    server: str = ""
    """Name of the cluster that this is about; empty for the host."""
    skipped: bool = False
    """Nothing was looked at, because something before it is missing."""


Look = Callable[[], Iterable[Check]]


def good(aspect: str, sentence: str) -> Check:
    return Check(aspect, Mark.GOOD, sentence)


def warn(aspect: str, sentence: str, remedy: str) -> Check:
    return Check(aspect, Mark.WARN, sentence, remedy)


def bad(aspect: str, sentence: str, remedy: str) -> Check:
    return Check(aspect, Mark.BAD, sentence, remedy)


def skipped(aspect: str, missing: str) -> Check:
    """``missing`` is the aspect without which this one cannot be looked at."""
    return Check(
        aspect,
        Mark.WARN,
        f"skipped: no {missing}",
        f"mend {missing} above, then: pgwarden doctor",
        skipped=True,
    )


def attempt(aspect: str, look: Look, server: str = "") -> Iterator[Check]:
    """What ``look`` finds; where it fails, that is a line as well and the others still come."""
    try:
        for check in look():
            yield replace(check, server=server)
    except Exception as error:  # noqa: BLE001 - supervises every check: none may hide the others
        said = " ".join(str(error).split())[:300]
        yield replace(
            bad(
                aspect,
                f"could not be looked at: {type(error).__name__}: {said}",
                "run it as root; if that changes nothing, report this line as a bug",
            ),
            server=server,
        )


def one_line(text: str) -> str:
    """Text of a server or a library, harmless to a terminal."""
    return printable(" ".join(text.split()))
