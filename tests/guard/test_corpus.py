"""Nothing forbidden takes effect and nothing harmless is refused, on real servers with real probes.

The short tier: the oldest version, Debian's, and the newest, each entry cold and warm in one round,
two versions at a time. ``./run corpus`` plays any of them, in all rounds.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.servers import fetch
from tests.guard.entry import PATHS, load
from tests.guard.play import QUICK, play_version, prove
from tests.guard.report import surprise

ENTRIES = load()
SHORT_TIER = (12, 18, 15)
AT_ONCE = 2

on_servers = [
    pytest.mark.live,
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]


def test_the_corpus_is_large_and_takes_every_way():
    forbidden = [one for one in ENTRIES if not one.harmless]
    assert len(forbidden) >= 300
    assert len(ENTRIES) - len(forbidden) >= 300
    assert {one.path for one in forbidden} == set(PATHS)


def test_no_two_entries_send_the_same():
    def sent(one):
        return one.harmless, one.login, one.options, one.setup, one.steps

    twice = [(a.id, b.id) for a in ENTRIES for b in ENTRIES if a.id < b.id and sent(a) == sent(b)]
    assert not twice


@pytest.fixture(scope="module")
def runs():
    fetch()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            major: pool.submit(play_version, major, ENTRIES, rounds=QUICK) for major in SHORT_TIER
        }


@pytest.fixture(params=SHORT_TIER)
def run(runs, request):
    """Waited for one by one: a test's time is that of one version."""
    return runs[request.param].result()


class TestOnServers:
    pytestmark = on_servers

    def test_nothing_forbidden_takes_effect_save_for_known_gaps(self, run):
        wrong = {
            one.entry.id: surprise(one)
            for one in run.played
            if not one.entry.harmless and (one.slipped or one.entry.gap) and surprise(one)
        }
        assert not wrong

    def test_the_agent_counts_nothing_that_passed_unjudged(self, run):
        assert run.unheld == {}

    def test_nothing_harmless_is_refused(self, run):
        wrong = {one.entry.id: one.denials for one in run.played if one.denied_falsely}
        assert not wrong

    def test_every_entry_could_be_played_and_was_refused_by_its_rule(self, run):
        wrong = {
            one.entry.id: surprise(one)
            for one in run.played
            if surprise(one) and not (one.slipped or one.denied_falsely or one.entry.gap)
        }
        assert not wrong


@pytest.mark.skipif(
    not os.environ.get("PGWARDEN_PROVE"),
    reason="four minutes for each version, to mend what was harmed; PGWARDEN_PROVE plays it",
)
@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("major", SHORT_TIER)
def test_without_a_guard_every_forbidden_entry_takes_effect_and_every_harmless_one_succeeds(major):
    fetch()
    played = prove(major, ENTRIES).played
    assert not {one.entry.id: surprise(one, proof=True) for one in played if surprise(one, True)}
