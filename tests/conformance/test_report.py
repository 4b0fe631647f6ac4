"""What the run says of its result."""

from pathlib import Path

import pytest

from tests.conformance import report
from tests.conformance.expected import Comparison, Difference
from tests.conformance.gaps import AUDITED, KNOWN_GAPS, Gap, gaps_in, is_known
from tests.conformance.manner import PLAIN, Manner
from tests.conformance.play import VersionRun
from tests.conformance.scenarios import SCENARIOS

GOOD = Comparison(expected=3, captured=3)
BAD = Comparison(
    expected=3,
    captured=3,
    missing=("SELECT 2",),
    duplicated=("SELECT 1",),
    wrong=(Difference("rows", "SELECT 1", "1", "None"),),
)
SIMPLE = next(one for one in SCENARIOS if one.path == "simple")
TRIGGERS = next(one for one in SCENARIOS if one.path == "triggers")
GAPS = (Gap("Some are not captured.", ("triggers",), frozenset({"missing"}), versions=(15,)),)


def run(**results):
    return VersionRun(
        major=15, server="15.18", results=results, errors={}, strays=(), losses={}, seconds=1.0
    )


def test_each_scenario_has_a_name_of_its_own_that_fits_an_application_name():
    names = [one.name for one in SCENARIOS]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 63


def test_the_json_counts_what_differs_by_field():
    (scenario,) = report.as_json([run(**{SIMPLE.name: BAD})])["versions"]["15"]["scenarios"]
    assert (scenario["path"], scenario["transport"], scenario["client"]) == (
        SIMPLE.path,
        SIMPLE.transport,
        SIMPLE.client,
    )
    assert (scenario["expected"], scenario["captured"]) == (3, 3)
    assert (scenario["missing"], scenario["duplicated"]) == (1, 1)
    assert scenario["wrong"] == {"rows": 1}


def test_the_terminal_names_a_scenario_only_if_it_does_not_conform():
    assert len(list(report.lines(run(**{SIMPLE.name: GOOD})))) == 1
    shown = "\n".join(report.lines(run(**{SIMPLE.name: BAD})))
    assert f"✗ {SIMPLE.name}: expected 3" in shown
    assert "missing: SELECT 2" in shown


@pytest.mark.parametrize("kind", ["duplicated", "unexpected"])
def test_a_gap_excuses_only_what_it_names(kind):
    missing = Comparison(expected=3, captured=1, missing=("x",))
    other = Comparison(expected=3, captured=4, **{kind: ("x",)})
    assert is_known(15, TRIGGERS, missing, GAPS)
    assert not is_known(15, TRIGGERS, other, GAPS)
    assert not is_known(15, SIMPLE, missing, GAPS)
    assert not is_known(18, TRIGGERS, missing, GAPS)


def test_every_path_of_a_gap_is_played():
    paths = {one.path for one in SCENARIOS}
    assert {path for gap in (*KNOWN_GAPS, *AUDITED) for path in gap.paths} <= paths


def test_what_pgaudit_tells_beside_excuses_nothing_where_it_is_not_read():
    assert set(AUDITED).isdisjoint(gaps_in(PLAIN))
    assert set(AUDITED) <= set(gaps_in(Manner(pgaudit=True)))


def test_the_page_in_docs_tells_of_every_path_and_gap():
    page = Path(report.PAGE).read_text()
    assert [one.path for one in SCENARIOS if f"| {one.path} |" not in page] == []
    assert [gap.reason for gap in KNOWN_GAPS if gap.reason not in page] == []
