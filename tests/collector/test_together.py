"""Commits that wait, as detectors are given them."""

from collector.segments import Committed
from collector.together import groups
from tests.analytics.streams import clean, frame

COMMITS = [Committed(1, {}), *(Committed(n, {"statements": frame(clean(40))}) for n in (2, 3, 4))]


def test_groups_keep_the_order_and_their_bound():
    parts = list(groups(COMMITS, 100))
    assert [[each.seq for each in part] for part in parts] == [[1, 2, 3], [4]]


def test_a_commit_larger_than_the_bound_is_a_group_of_its_own():
    assert [[each.seq for each in part] for part in groups(COMMITS[1:], 10)] == [[2], [3], [4]]
