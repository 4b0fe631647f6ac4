"""One version: play all scenarios before a real pgwarden, then ask its record."""

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cli.sql import ask, open_session
from config.schema import Capture
from tests.conformance.compare import compare
from tests.conformance.expected import Captured, Comparison, Expected
from tests.conformance.manner import PLAIN, Manner
from tests.conformance.place import SECOND_NAME, USER, Place
from tests.conformance.scenarios import Scenario
from tests.conformance.stage import Stage
from tests.live.running import Running

QUIET_SECONDS = 1.5
"""So long without a new row: nothing more comes. The collector commits twice a second."""
RULES = Path(__file__).with_name("enforced.yaml")
AUDIT_SECONDS = 4
"""Rows of what only the log tells come when it has waited for the probes (1.5 s), and been read."""
WAIT_SECONDS = 20
_POOLER_OWN = re.compile(r"(SET (application_name|client_encoding)='[^;]*';)+")
_QUERY = (
    "SELECT id, parent_id, text, user_name, database, application_name, client_address, "
    "duration_us, rows, sqlstate, protocol, transaction, text_bytes, bytes_sent, error_message, "
    f"preparation_us FROM statements WHERE user_name = '{USER}'"
)


@dataclass(frozen=True)
class VersionRun:
    major: int
    server: str
    results: Mapping[str, Comparison]
    """By scenario name."""
    errors: Mapping[str, str]
    """Scenarios that could not be played."""
    strays: tuple[str, ...]
    """Recorded statements of our login under a name that no scenario uses."""
    losses: Mapping[str, int]
    seconds: float
    manner: Manner = PLAIN
    sources: Mapping[str, int] = field(default_factory=dict)
    """Rows of all logins by who told of them."""


def play_version(major: int, scenarios: Sequence[Scenario], manner: Manner = PLAIN) -> VersionRun:
    began = time.monotonic()
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(major, pgaudit=manner.pgaudit))
        places = {one: stage.place(one.name, one.transport) for one in scenarios}
        opened = {one: [one.opened(places[one])] for one in scenarios if one.opened}
        running = stack.enter_context(Running(stage.server, _configuration(manner)))
        expected, errors = _play_all(places, opened)
        wanted = sum(len(entries) for entries in expected.values())
        rows = _settled(running, wanted, AUDIT_SECONDS if manner.pgaudit else QUIET_SECONDS)
        losses = running.sql("SELECT reason, sum(count) AS n FROM losses GROUP BY ALL")
        sources = running.sql("SELECT source, count(*) AS n FROM statements GROUP BY ALL")
        server = stage.server_version()
    by_name = defaultdict(list)
    for row in rows:
        by_name[row.application_name.split(SECOND_NAME)[0]].append(row)
    strays = [row.text for name in by_name.keys() - expected.keys() for row in by_name[name]]
    return VersionRun(
        major=major,
        server=server,
        results={name: compare(entries, by_name[name]) for name, entries in expected.items()},
        errors=errors,
        strays=tuple(strays),
        losses={row["reason"]: int(row["n"]) for row in losses},
        seconds=round(time.monotonic() - began, 1),
        manner=manner,
        sources={row["source"]: int(row["n"]) for row in sources},
    )


def _play_all(
    places: Mapping[Scenario, Place], opened: Mapping[Scenario, list[object]]
) -> tuple[dict[str, list[Expected]], dict[str, str]]:
    """What was done, and why scenarios could not be played, by their names."""
    expected: dict[str, list[Expected]] = {}
    errors: dict[str, str] = {}
    for one, place in places.items():
        try:
            expected[one.name] = one.play(place, *opened.get(one, [])).entries
        except Exception as error:  # noqa: BLE001 - one scenario must not end the run
            errors[one.name] = f"{type(error).__name__}: {error}"
    return expected, errors


def _configuration(manner: Manner) -> dict:
    """Texts as they were sent, to be compared to the byte."""
    capture: dict[str, object] = {"pgaudit": manner.pgaudit, "canary_interval_seconds": 0}
    if "nested" in Capture.model_fields:
        capture["nested"] = True
    return {
        "agent": {
            "capture": capture,
            "send_full_text": True,
            "catalog": {"enabled": False},
            "guard": {"mode": "enforce" if manner.enforce else "off"},
            "rules": {"packs": [str(RULES)]} if manner.enforce else {},
        },
        "collector": {"analytics": {"enabled": False}},
    }


def _settled(running: Running, wanted: int, quiet_seconds: float) -> list[Captured]:
    """All rows, when no more come."""
    deadline = time.monotonic() + WAIT_SECONDS
    rows, changed = _read(running), time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.3)
        now = _read(running)
        if len(now) != len(rows):
            rows, changed = now, time.monotonic()
        elif time.monotonic() - changed > quiet_seconds and (
            len(rows) >= wanted or time.monotonic() - changed > 3 * quiet_seconds
        ):
            break
    return rows


def _read(running: Running) -> list[Captured]:
    with open_session(running.data_dir) as views:
        rows = [Captured(*row) for row in ask(views, _QUERY).rows()]
    return [row for row in rows if not _is_pooler_own(row)]


def _is_pooler_own(row: Captured) -> bool:
    """pgbouncer gives its connection the settings of the client that it now serves."""
    return _POOLER_OWN.fullmatch(row.text) is not None
