"""What a run says: by family and path, on the terminal, as JSON, as a page of the documentation."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.guard.entry import PATHS
from tests.guard.play import Played, VersionRun

MOST_LINES = 40
PAGE = Path(__file__).parents[2] / "docs" / "guard-corpus.md"


def surprise(one: Played, proof: bool = False) -> str:
    """Why this is not as it should be; empty where it is."""
    if one.broken:
        return f"broken: {one.broken}"
    if proof:
        if one.entry.harmless:
            return f"fails without a guard: {'; '.join(one.errors)}" if one.errors else ""
        return "" if one.effects else f"takes no effect without a guard: {'; '.join(one.errors)}"
    if one.entry.gap:
        return "" if one.slipped else f"slips no more, so it is no gap: {one.entry.gap}"
    if one.slipped:
        return f"SLIPPED {'; '.join(one.effects)}"
    if one.denied_falsely:
        return f"FALSE DENIAL {'; '.join(one.denials)}"
    if one.entry.harmless and one.errors:
        return f"fails: {'; '.join(one.errors)}"
    if one.entry.rule and one.rules and one.entry.rule not in one.rules:
        return f"refused by {', '.join(sorted(one.rules))}, not by {one.entry.rule}"
    return ""


def surprises(run: VersionRun, proof: bool = False) -> list[Played]:
    return [one for one in run.played if surprise(one, proof)]


def lines(run: VersionRun, proof: bool = False) -> Iterator[str]:
    for table, key in (("family", lambda o: o.entry.family), ("path", lambda o: o.entry.path)):
        yield f"PostgreSQL {run.major}, by {table}:"
        yield f"  {'':24}{'forbidden':>10}{'stopped':>9}{'slipped':>9}{'harmless':>10}{'denied':>8}"
        for name, count in _counts(run, key).items():
            yield (
                f"  {name:24}{count['forbidden']:>10}{count['stopped']:>9}{count['slipped']:>9}"
                f"{count['harmless']:>10}{count['denied']:>8}"
            )
    total = sum(_counts(run, lambda _: "").values(), Counter())
    bad = len(surprises(run, proof))
    for line in _not_prevented(run.log) if bad else ():
        yield f"PostgreSQL {run.major}: {line}"
    for reason, count in run.unheld.items():
        yield f"PostgreSQL {run.major}: {count} passed unjudged: {reason}"
    yield (
        f"PostgreSQL {run.major}: {total['forbidden']} forbidden, {total['slipped']} slipped; "
        f"{total['harmless']} harmless, {total['denied']} denied; {bad} surprises; {run.seconds} s"
    )


def as_json(runs: Sequence[VersionRun]) -> dict[str, Any]:
    return {
        str(run.major): {
            "seconds": run.seconds,
            "rounds": run.rounds,
            "passed_unjudged": run.unheld,
            "by_family_and_path": [
                {"family": family, "path": path, **counts}
                for (family, path), counts in _counts(
                    run, lambda o: (o.entry.family, o.entry.path)
                ).items()
            ],
            "not_prevented": _not_prevented(run.log),
            "surprises": {one.entry.id: surprise(one) for one in surprises(run)},
            "gaps": {one.entry.id: one.entry.gap for one in run.played if one.entry.gap},
            "silent": [one.entry.id for one in run.played if _is_silent(one)],
        }
        for run in runs
    }


def _not_prevented(log: str) -> list[str]:
    """What the agent itself said of refusals that it had to carry out in another way: where
    something slipped, the reason is here."""
    verdicts = (line for line in log.splitlines() if " event=verdict " in line)
    return [line for line in verdicts if "outcome=prevented" not in line][:MOST_LINES]


def page(results: dict[str, Any]) -> str:
    """docs/guard-corpus.md, of what ``as_json`` gave, of one run or several of the same version."""
    majors = sorted(results, key=int)
    out = [_HEAD.format(versions=", ".join(majors))]
    out += ["| PostgreSQL | forbidden | stopped | slipped | harmless | denied falsely | rounds |"]
    out += ["|---|---|---|---|---|---|---|"]
    for major in majors:
        total = sum((_count(row) for row in results[major]["by_family_and_path"]), Counter())
        out.append(f"| {major} | {_cells(total)} | {results[major]['rounds']} |")
    families = dict.fromkeys(
        row["family"] for major in majors for row in results[major]["by_family_and_path"]
    )
    out += ["", "## By class", "", _by(results, majors, list(families), "family")]
    out += ["", "## By path", "", _by(results, majors, PATHS, "path")]
    out += ["", "## Known gaps", ""]
    gaps = {name: why for major in majors for name, why in results[major]["gaps"].items()}
    out += [f"- `{name}`: {reason}" for name, reason in sorted(gaps.items())] or ["None."]
    wrong = [
        f"- PostgreSQL {major}, `{name}`: {word}"
        for major in majors
        for name, word in results[major]["surprises"].items()
    ]
    out += ["", "## Not as it should be", "", *(wrong or ["Nothing."])]
    return "\n".join(out) + "\n"


_HEAD = """# The bypass corpus

Forbidden statements on every way into the server, and harmless ones that look like them, played
by real clients on real servers (PostgreSQL {versions}) against an agent that enforces. Judged is
what happened to the database, not which error was seen: `tests/guard/state.sql` is compared before
and after. In 3 rounds a forbidden entry runs cold, again with warm caches, and within a
transaction; in 1 round cold and warm, looked at once. `./run corpus --prove` shows that each takes
effect where no guard is. The agent has a deadline of 5 s and `on_timeout: deny`
(`tests/guard/play.py`), not the 200 ms and `allow` that it comes with: this shows what the rules
stop once they are asked, not what is late on a busy machine; `./run corpus --shipped` plays it with
those, and CI what is long or deep. [The guard](guard.md) says what is late, and what becomes of it.
This page is made by `./run corpus --docs`.
"""


def _by(results: dict[str, Any], majors: Sequence[str], names: Sequence[str], column: str) -> str:
    """Stopped of forbidden, and denied of harmless, by version."""
    heads = "".join(f" {major} stopped | {major} denied |" for major in majors)
    rows = [f"| {column} |{heads}", "|---|" + "---|---|" * len(majors)]
    for name in names:
        cells = ""
        for major in majors:
            found = (r for r in results[major]["by_family_and_path"] if r[column] == name)
            one = sum(map(_count, found), Counter())
            cells += f" {one['stopped']}/{one['forbidden']} | {one['denied']}/{one['harmless']} |"
        rows.append(f"| {name} |{cells}")
    return "\n".join(rows)


NAMES = ("forbidden", "stopped", "slipped", "harmless", "denied")


def _count(row: dict[str, Any]) -> Counter[str]:
    return Counter({name: row[name] for name in NAMES if name in row})


def _cells(count: Counter[str]) -> str:
    return " | ".join(str(count[name]) for name in NAMES)


def _counts(run: VersionRun, key: Any) -> dict[Any, Counter[str]]:
    out: dict[Any, Counter[str]] = {}
    for one in run.played:
        count = out.setdefault(key(one), Counter())
        if one.entry.harmless:
            count.update(("harmless", *["denied"] * one.denied_falsely))
        else:
            count.update(("forbidden", "slipped" if one.slipped else "stopped"))
    return out


def _is_silent(one: Played) -> bool:
    """Stopped, but nobody said so: an exception handler swallowed it, or it failed by itself."""
    return not one.entry.harmless and not one.slipped and not one.denials
