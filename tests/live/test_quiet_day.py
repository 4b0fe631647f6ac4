"""Hours of ordinary work in which nobody changes anything: nothing is told."""

import pytest

from bench.drift_quiet import day
from tests.live.postgres import server_folder

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
MINUTES = 190
"""Three hourly rounds, and the night's maintenance with a backup and a restart."""


def test_a_quiet_morning_tells_nothing_and_a_grant_after_it_is_told():
    with day(tables=60, roles=12) as quiet:
        quiet.play(MINUTES)
        assert [each.sentence for each in quiet.heard.findings] == []
        assert quiet.watcher.taken > MINUTES
        [told] = quiet.wakes()
        assert "sales.ordinary" in told
