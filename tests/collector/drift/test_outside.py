"""What is said of the time in which nobody on the wire did it."""

from __future__ import annotations

import polars as pl

from tests.analytics.streams import START_US
from tests.collector.drift.story import S
from tests.collector.drift.test_outcomes import SHARED, sessions, world

__all__ = ["world"]


def began(rows, second):
    moment = pl.lit(START_US + int(second * S)).cast(pl.Datetime("us"))
    return rows.with_columns(backend_started_at=moment)


def test_scripts_that_came_and_went_are_no_restart(world):
    """Each psql -c is a session of its own, and of a short one nothing follows."""
    world.commit(2, sessions=began(sessions((1, None), (2, None)), 1.5))
    world.commit(4, sessions=began(sessions((1, 3.0), (2, 3.1)), 1.5))
    world.commit(6, SHARED)
    [found] = world.tick(20).findings
    assert "ended" not in found.sentence
