"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
    """The exact command or SQL, where there is one."""


def good(aspect: str, sentence: str) -> Check:
    return Check(aspect, Mark.GOOD, sentence)


def warn(aspect: str, sentence: str, remedy: str) -> Check:
    return Check(aspect, Mark.WARN, sentence, remedy)


def bad(aspect: str, sentence: str, remedy: str) -> Check:
    return Check(aspect, Mark.BAD, sentence, remedy)
