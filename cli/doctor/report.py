"""Lines as a person reads them, and as a script does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import orjson
from rich.text import Text

from cli.context import printable
from cli.doctor.check import Check, Mark

STYLE = {Mark.GOOD: "green", Mark.WARN: "yellow", Mark.BAD: "bold red"}
NAME = {Mark.GOOD: "good", Mark.WARN: "warn", Mark.BAD: "bad"}
ASPECT_WIDTH = 15
REMEDY_INDENT = "    "


def line(check: Check) -> Text:
    """Its remedy stands below, each line ready to be copied."""
    aspect = f"{check.server}: {check.aspect}" if check.server else check.aspect
    text = Text.assemble(
        (check.mark.value, STYLE[check.mark]),
        " ",
        (printable(aspect).ljust(ASPECT_WIDTH), "bold"),
        " ",
        printable(check.sentence),
    )
    for remedy in check.remedy.splitlines():
        text.append(f"\n{REMEDY_INDENT}{printable(remedy)}", "cyan")
    return text


def as_json(check: Check) -> bytes:
    return _dump(
        {
            "aspect": check.aspect,
            "server": check.server,
            "mark": NAME[check.mark],
            "skipped": check.skipped,
            "sentence": check.sentence,
            "remedy": check.remedy,
        }
    )


def counts(checks: Iterable[Check]) -> dict[str, int]:
    """Of each mark; ``skipped`` are among ``warn``."""
    seen = list(checks)
    marks = Counter(check.mark for check in seen)
    by_mark = {name: marks[mark] for mark, name in NAME.items()}
    return by_mark | {"skipped": sum(check.skipped for check in seen)}


def summary(numbers: dict[str, int]) -> Text:
    text = Text("\n")
    for mark, name in NAME.items():
        text.append(f"{numbers[name]} {mark.value}  ", STYLE[mark])
    if numbers["skipped"]:
        text.append(f"({numbers['skipped']} of them skipped)", "dim")
    return text


def summary_as_json(numbers: dict[str, int]) -> bytes:
    return _dump({"summary": numbers})


def _dump(value: object) -> bytes:
    # A lone surrogate, from a path that is not UTF-8, must not end the report.
    return orjson.dumps(_clean(value))


def _clean(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    return value
