"""When the catalog is looked at: soon after a poke, seldom while nothing happens."""

from itertools import pairwise

from agent.catalog.schedule import (
    AFTER_POKE_SECONDS,
    CALLS_GAP_SECONDS,
    EVERYTHING,
    MOST_GAP_SECONDS,
    MOST_STRETCH,
    ONLY_WATCHED,
    QUIET_ROUNDS,
    Schedule,
    Target,
)
from model.catalog import CatalogKind

SHOP = Target("shop")


def looks(schedule, until, start=0.0, took=0.0, news=False, pokes=()):
    """Moments and targets of all looks; ``pokes``: (moment, target)."""
    found, now, pokes = [], start, sorted(pokes, key=lambda poke: poke[0])
    while now <= until:
        while pokes and pokes[0][0] <= now:
            moment, target = pokes.pop(0)
            schedule.poke(target, moment)
        targets = schedule.take(now)
        if targets:
            found.append((round(now, 2), targets))
            now += took
            schedule.ended(targets, now, took, news)
        now = round(now + 0.05, 2)
    return found


def test_the_first_round_is_at_once_and_over_everything():
    assert looks(Schedule(60.0, 0.0), 1.0) == [(0.0, {EVERYTHING})]


def test_a_quiet_server_is_looked_at_five_times_as_seldom_and_activity_brings_the_interval_back():
    schedule = Schedule(10.0, 0.0)
    moments = [moment for moment, _ in looks(schedule, 1000.0)]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert gaps[0] < 13.0
    assert len(moments) > QUIET_ROUNDS
    assert abs(gaps[-1] - 10.0 * MOST_STRETCH) < 0.2
    assert sorted(gaps) == gaps
    schedule.poke(SHOP, 1000.0)
    after = [moment for moment, targets in looks(schedule, 1020.0, 1000.0) if EVERYTHING in targets]
    assert after[0] <= 1010.1


def test_a_poke_is_followed_by_several_looks_at_its_target_alone():
    schedule = Schedule(600.0, 0.0)
    looks(schedule, 1.0)
    found = looks(schedule, 100.0, 10.0, pokes=[(10.0, SHOP)])
    assert [targets for _, targets in found] == [{SHOP}] * len(AFTER_POKE_SECONDS)
    assert [moment for moment, _ in found] == [10.1, 10.6, 12.0, 16.0]


def test_calls_without_end_are_looked_after_at_once_and_then_seldom():
    schedule = Schedule(600.0, 0.0)
    looks(schedule, 1.0)
    calls = Target("shop", ONLY_WATCHED)
    pokes = [(10.0 + n / 10, calls) for n in range(300)]
    found = [moment for moment, _ in looks(schedule, 60.0, 10.0, pokes=pokes)]
    assert found[0] == 10.5
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert len(gaps) == 3
    assert all(abs(gap - CALLS_GAP_SECONDS) < 0.1 for gap in gaps)


def test_who_pokes_without_end_does_not_put_off_the_look():
    schedule = Schedule(600.0, 0.0)
    looks(schedule, 1.0)
    pokes = [(10.0 + n / 20, SHOP) for n in range(400)]
    moments = [moment for moment, _ in looks(schedule, 30.0, 10.0, pokes=pokes)]
    assert moments[0] == 10.1
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(gaps) >= 0.3
    assert max(gaps) < 1.0


def test_slow_looks_leave_the_server_in_peace_but_stay_within_the_promise():
    schedule = Schedule(600.0, 0.0)
    looks(schedule, 1.0)
    pokes = [(10.0 + n / 20, SHOP) for n in range(400)]
    moments = [moment for moment, _ in looks(schedule, 30.0, 10.0, took=1.0, pokes=pokes)]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(gaps) >= 1.0 + MOST_GAP_SECONDS
    assert max(gaps) < 4.0


def test_pokes_at_several_targets_are_one_look():
    schedule = Schedule(600.0, 0.0)
    looks(schedule, 1.0)
    flags = Target("shop", frozenset((CatalogKind.WATCHED,)), "public.flags")
    found = looks(schedule, 10.2, 10.0, pokes=[(10.0, SHOP), (10.0, flags)])
    assert found == [(10.1, {SHOP, flags})]


def test_a_target_says_what_is_to_be_looked_at():
    assert (SHOP.cluster, SHOP.in_database) == (True, True)
    settings = Target(None, frozenset((CatalogKind.SETTING,)))
    assert (settings.cluster, settings.in_database) == (True, False)
    flags = Target("shop", frozenset((CatalogKind.WATCHED,)), "public.flags")
    assert (flags.cluster, flags.in_database) == (False, False)
