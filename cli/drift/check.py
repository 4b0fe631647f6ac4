"""``drift check``: a profile of expectations held against what was last seen."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.text import Text

from cli.context import ConfigOption, Exit, JsonOption, err, out, printable, read_config
from cli.drift.desired import ServerOption
from cli.drift.record import Place, at_place, choose, facts
from cli.drift.shown import listed
from cli.lines import SEVERITY_STYLE

if TYPE_CHECKING:
    from collector.drift.profiles import Profile, Result

MARKS = {"pass": ("✓", "green"), "fail": ("✗", "red"), "unknown": ("?", "yellow")}


def check(
    profile: Annotated[str, typer.Option(help="cis, pgaudit, or a file of your own.")] = "cis",
    server: ServerOption = "",
    database: Annotated[str, typer.Option(help="Only this one; else all.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Also what passes.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Hold a server against a profile; exit 1 when a check fails. Unknown is said, with why."""
    from collector.drift.profiles import check as checked

    read = _profile(profile)
    known = facts(read_config(config))
    place = choose(known, server, database)
    results = checked(read.checks, at_place(known, place))
    for result in results:
        if json:
            typer.echo(orjson.dumps(_as_json(place, read, result)).decode())
        elif every or result.outcome != "pass":
            _show(result)
    counts = Counter(str(result.outcome) for result in results)
    if not json:
        out.print(
            f"{place}: {counts['pass']} pass, {counts['fail']} fail, {counts['unknown']} unknown",
            markup=False,
        )
    if counts["fail"]:
        raise typer.Exit(Exit.FOUND)


def _profile(name: str) -> Profile:
    from collector.drift.profiles import ProfileError, profile_names, read_profile

    try:
        return read_profile(name)
    except ProfileError as error:
        for problem in error.problems:
            err.print(f"✗ {printable(problem)}", style="red", markup=False, soft_wrap=True)
        if "/" not in name and not name.endswith(".yaml"):
            err.print(f"  profiles: {', '.join(profile_names())}, or a file", markup=False)
        raise typer.Exit(Exit.CONFIGURATION) from None


def _show(result: Result) -> None:
    mark, colour = MARKS[result.outcome]
    severity = str(result.check.severity)
    out.print(
        Text.assemble(
            (f"{mark} ", colour),
            (f"{result.check.id}  ", "bold"),
            (f"{severity}  ", SEVERITY_STYLE.get(severity, "")),
            printable(result.check.title),
        ),
        soft_wrap=True,
    )
    if result.outcome == "fail":
        out.print(f"    {printable(listed(result.offenders))}", markup=False, soft_wrap=True)
        out.print(f"    why: {result.check.why}", markup=False, soft_wrap=True, style="dim")
        out.print(f"    remedy: {result.check.remedy}", markup=False, soft_wrap=True, style="dim")
    elif result.reason:
        out.print(f"    {printable(result.reason)}", markup=False, soft_wrap=True, style="dim")


def _as_json(place: Place, profile: Profile, result: Result) -> dict[str, object]:
    check = result.check
    return {
        "agent": place.agent,
        "cluster": place.cluster,
        "profile": profile.name,
        "id": check.id,
        "title": check.title,
        "severity": str(check.severity),
        "outcome": str(result.outcome),
        "offenders": list(result.offenders),
        "reason": result.reason,
        "why": check.why,
        "remedy": check.remedy,
    }
