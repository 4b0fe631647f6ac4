"""The run's result as JSON, as lines for a terminal, and as docs/conformance.md."""

import datetime
import os
import platform
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.conformance.expected import Comparison
from tests.conformance.gaps import AUDITED, KNOWN_GAPS, gaps_in, gaps_of, is_known
from tests.conformance.play import VersionRun
from tests.conformance.scenarios import SCENARIOS, Scenario

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
EXAMPLES = 5
COMPARED = (
    "## What is compared, and how closely",
    "",
    "| field | with what |",
    "|---|---|",
    "| text | as sent, to the byte; of more than 1,048,575 bytes so many |",
    "| text_bytes | the length of all of it |",
    "| login, database, application_name, client address, protocol | the scenario's |",
    "| rows, SQLSTATE | the scenario's; the client must have seen the same |",
    "| error_message | PostgreSQL's words with `?` for every value; the message that psycopg shows"
    " must be of these words |",
    "| transaction | the status before and after the round trip, followed by texts and SQLSTATEs;"
    " psycopg and by-hand hold it against ReadyForQuery. Of several in one round trip those whose"
    " answer the server sent before its end have `?` behind |",
    "| duration | at most what the client's own stopwatch says of that message, at least what the"
    " server slept in it, both to 1 ms (two clocks); one after the other, also the sum |",
    "| preparation | told of the first statement of a message that succeeded, part of its duration,"
    " and at least what the planner slept |",
    "| bytes | of a whole round trip, to the byte: psycopg (libpq's trace), by-hand, node-postgres"
    " without TLS; elsewhere more than an empty answer |",
    "| nested | text, its length, the parent, and whose session it is |",
    "",
    "In the extended protocol Parse and Bind are messages of their own, and planning is a part of"
    " Bind: duration and",
    "preparation are those of Execute. Where a later statement of a message fails before it begins,"
    " its duration is that of the",
    "message up to the error. Several statements in one answer share its bytes: they stand"
    " at the last of them.",
    "",
)
BESIDE = (
    "## With more switched on",
    "",
    "`./run conformance --enforce` plays the same while statements are held and judged, and",
    "`--pgaudit --version 15` while pgaudit logs all classes and its log is read: each statement",
    "once again, not once for each source, and with the same fields. Where that is not so:",
    "",
    *(f"- {gap.reason} Paths: {', '.join(gap.paths)}." for gap in AUDITED),
    "",
)
NOT_PLAYED = (
    "## What is not played",
    "",
    "- A text that the server refuses before it is a statement: not valid in its encoding",
    "  (22021), with a NUL byte (08P01). Nothing executes; it is counted (`refused_unread`) and",
    "  has no row. Messages with a name that does not exist (26000, 34000) are played, in",
    "  `errors-behind` and `errors-flushed`: they have no row either.",
    "- Rows, duration and SQLSTATE of nested statements: they are not known (docs/nested.md).",
    "- Named statements and pipelines through pgbouncer, and `aggregate: always`.",
    "- A round trip that its client fills slowly: an Execute without Sync or Flush is answered",
    "  when more comes, so that its duration has the client's pause in it, up to the next",
    "  statement or to the Sync.",
    "- Bytes that a client sends (COPY FROM STDIN): rows, the text and the bytes of the answer are",
    "  recorded of it.",
    "- Whose word a comment is, inside statements and through pgbouncer: played by",
    "  `tests/live/test_identity_inside.py`. Loss under a full ring:",
    "  `tests/kernel/test_exact_losses.py`; there a statement may be on record without its login.",
    "- Sessions that the server ends (idle timeouts, pg_terminate_backend while idle): they",
    "  have their end, and no reason for it (docs/views.md).",
)
"""Said on the page, so that the table is not taken for more than it is."""
_BY_NAME = {one.name: one for one in SCENARIOS}


def machine() -> str:
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs"


def as_json(runs: Sequence[VersionRun]) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": {str(run.major): _version(run) for run in runs},
    }


def _version(run: VersionRun) -> dict[str, Any]:
    return {
        "server": run.server,
        "seconds": run.seconds,
        "losses": dict(run.losses),
        "sources": dict(run.sources),
        "strays": list(run.strays),
        "errors": dict(run.errors),
        "scenarios": [_scenario(run, name, one) for name, one in run.results.items()],
    }


def _scenario(run: VersionRun, name: str, one: Comparison) -> dict[str, Any]:
    scenario = _BY_NAME[name]
    gaps = () if one.conforms else gaps_of(run.major, scenario, gaps_in(run.manner))
    return {
        "path": scenario.path,
        "transport": scenario.transport,
        "client": scenario.client,
        "expected": one.expected,
        "captured": one.captured,
        "missing": len(one.missing),
        "duplicated": len(one.duplicated),
        "unexpected": len(one.unexpected),
        "wrong": one.wrong_by_field,
        "known_gaps": [gap.reason for gap in gaps],
        "examples": list(_examples(one)),
    }


def _examples(one: Comparison) -> Iterator[str]:
    for kind in ("missing", "duplicated", "unexpected"):
        for text in getattr(one, kind)[:EXAMPLES]:
            yield f"{kind}: {text[:200]}"
    for wrong in one.wrong[:EXAMPLES]:
        values = f"expected {wrong.expected[:200]}, recorded {wrong.captured[:200]}"
        yield f"{wrong.field}: {values}: {wrong.text[:200]}"


def lines(run: VersionRun) -> Iterator[str]:
    conforming = sum(one.conforms for one in run.results.values())
    yield (
        f"PostgreSQL {run.server}: {conforming} of {len(run.results)} scenarios conform "
        f"({run.seconds} s)"
    )
    for name, one in run.results.items():
        if not one.conforms:
            is_so = is_known(run.major, _BY_NAME[name], one, gaps_in(run.manner))
            known = " (known)" if is_so else ""
            yield f"  ✗ {name}{known}: expected {one.expected}, captured {one.captured}"
            yield from (f"      {example}" for example in _examples(one))
    yield from (f"  ! {name} could not be played: {why}" for name, why in run.errors.items())
    yield from (f"  ? under no scenario's name: {text[:200]}" for text in run.strays[:EXAMPLES])
    if run.losses:
        yield f"  losses: {dict(run.losses)}"
    if run.manner.pgaudit:
        yield f"  told by: {dict(run.sources)}"


def page(runs: Sequence[VersionRun]) -> str:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return "\n".join(
        [
            "# Conformance",
            "",
            "What pgwarden records (eBPF alone, without pgaudit) against what clients did,",
            "statement by statement. Made by `./run conformance --docs`. A client that sees",
            "another result than its scenario says fails the run, so what is expected does not",
            "rest on pgwarden.",
            "",
            f"Measured on {today}, {machine()}.",
            "",
            "## By version",
            "",
            "| PostgreSQL | scenarios | expected | captured | missing | duplicated | unexpected |"
            " wrong fields | seconds |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_version_row(run) for run in runs),
            "",
            *COMPARED,
            "## By path",
            "",
            "Statements expected, over all clients and transports that play the path; `✗` counts",
            "scenarios that do not conform, and says in what.",
            "",
            "| path | clients | transports | " + " | ".join(str(run.major) for run in runs) + " |",
            "|---|---|---|" + "---|" * len(runs),
            *_path_rows(runs),
            "",
            "## Known gaps",
            "",
            *_gap_lines(runs),
            "",
            *BESIDE,
            *NOT_PLAYED,
            "",
        ]
    )


def _version_row(run: VersionRun) -> str:
    results = run.results.values()
    cells = (
        run.server,
        len(results),
        sum(one.expected for one in results),
        sum(one.captured for one in results),
        *(sum(len(getattr(one, kind)) for one in results)
          for kind in ("missing", "duplicated", "unexpected", "wrong")),
        run.seconds,
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _path_rows(runs: Sequence[VersionRun]) -> Iterator[str]:
    by_path: dict[str, list[Scenario]] = defaultdict(list)
    for scenario in SCENARIOS:
        by_path[scenario.path].append(scenario)
    for path, scenarios in by_path.items():
        clients = ", ".join(dict.fromkeys(one.client for one in scenarios))
        transports = ", ".join(dict.fromkeys(one.transport for one in scenarios))
        cells = (_cell([run.results[o.name] for o in scenarios if o.name in run.results])
                 for run in runs)  # fmt: skip
        yield f"| {path} | {clients} | {transports} | " + " | ".join(cells) + " |"


def _cell(results: list[Comparison]) -> str:
    if not results:
        return "not played"
    expected = sum(one.expected for one in results)
    failing = [one for one in results if not one.conforms]
    if not failing:
        return str(expected)
    kinds = Counter(kind for one in failing for kind in one.kinds)
    return f"{expected} ✗ {len(failing)} ({', '.join(sorted(kinds))})"


def _gap_lines(runs: Sequence[VersionRun]) -> Iterator[str]:
    if not KNOWN_GAPS:
        yield "None."
    for gap in KNOWN_GAPS:
        versions = [str(run.major) for run in runs if run.major in gap.versions]
        if versions:
            yield f"- {gap.reason} Paths: {', '.join(gap.paths)}; versions {', '.join(versions)}."
