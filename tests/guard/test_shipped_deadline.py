"""At the deadline that ships, 200 ms and then allowed: no size carries anything past the rules."""

import pytest

from tests.conformance.servers import fetch
from tests.guard.entry import load
from tests.guard.play import ROUNDS, SHIPPED, play_version
from tests.guard.report import surprise
from tests.guard.test_corpus import SHORT_TIER, on_servers

pytestmark = on_servers
LARGE = [one for one in load() if one.path in ("long", "deep") and not one.harmless]


@pytest.mark.parametrize("major", SHORT_TIER)
def test_no_size_carries_anything_past_the_rules(major):
    fetch()
    run = play_version(major, LARGE, rounds=ROUNDS[:1], settings=SHIPPED)
    assert len(run.played) == len(LARGE)
    assert not {one.entry.id: surprise(one) for one in run.played if one.slipped or one.broken}
