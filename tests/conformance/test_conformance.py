"""What clients do is on record exactly once and as it was, on real servers with real probes.

The short tier: the oldest version, Debian's, and the newest. ``./run conformance`` plays them all.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.gaps import KNOWN_GAPS, is_known
from tests.conformance.play import play_version
from tests.conformance.scenarios import SCENARIOS
from tests.conformance.servers import fetch

pytestmark = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]

SHORT_TIER = (12, 15, 18)


@pytest.fixture(scope="module")
def runs():
    """Side by side: scenarios wait more than they work."""
    fetch()
    with ThreadPoolExecutor(len(SHORT_TIER)) as pool:
        yield {major: pool.submit(play_version, major, SCENARIOS) for major in SHORT_TIER}


@pytest.fixture(scope="module", params=SHORT_TIER)
def run(request, runs):
    return runs[request.param].result()


def test_every_scenario_could_be_played(run):
    assert not run.errors
    assert set(run.results) == {one.name for one in SCENARIOS}


def test_every_statement_is_recorded_once_and_as_it_was_save_for_known_gaps(run):
    surprises = {
        one.name: run.results[one.name]
        for one in SCENARIOS
        if not is_known(run.major, one, run.results[one.name])
    }
    assert not surprises


def test_nothing_is_recorded_under_a_name_that_no_client_used(run):
    assert not run.strays


def test_nothing_is_counted_as_lost_but_messages_that_were_never_statements(run):
    """The paths errors-behind and errors-flushed send so many that name what is not there."""
    assert run.losses == {"refused_unread": 20}


def test_a_known_gap_that_has_closed_leaves_the_table(run):
    closed = [
        (gap.reason, path)
        for gap in KNOWN_GAPS
        if run.major in gap.versions
        for path in gap.paths
        if all(run.results[one.name].conforms for one in SCENARIOS if one.path == path)
    ]
    assert not closed
