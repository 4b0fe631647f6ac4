"""The labelled world: the same bytes for a seed, true labels, a company's days."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import polars as pl
import pytest

from bench.world import SCHEMA, World
from bench.world.calendar import QUIET_DAYS
from bench.world.campaigns import KINDS

SEED, DAYS, FIRST = 10, 8, 6
"""A Sunday and the Monday on which the first campaigns of this seed begin."""


def whole(world: World, first: int = 0) -> pl.DataFrame:
    return pl.concat([batch for _, batch in world.by_day(first)])


def digest(frame: pl.DataFrame) -> str:
    return hashlib.sha256(frame.write_ndjson().encode()).hexdigest()


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=SEED, days=DAYS)


@pytest.fixture(scope="module")
def statements(world: World) -> pl.DataFrame:
    return whole(world, FIRST)


@pytest.fixture(scope="module")
def one_day() -> pl.DataFrame:
    return whole(World(seed=3, days=1))


def test_a_seed_gives_the_same_bytes_every_time(one_day: pl.DataFrame) -> None:
    assert digest(whole(World(seed=3, days=1))) == digest(one_day)


def test_seeds_differ_in_who_works_and_what_is_said(
    world: World, statements: pl.DataFrame, one_day: pl.DataFrame
) -> None:
    other = World(seed=3, days=1)
    assert {who.name for who in world.identities} != {who.name for who in other.identities}
    texts = [set(frame["fingerprint"]) for frame in (statements, one_day)]
    assert len(texts[0] & texts[1]) < 0.5 * len(texts[0])


def test_batches_have_the_columns_of_the_view_in_order_of_time(statements: pl.DataFrame) -> None:
    assert dict(statements.schema) == SCHEMA
    assert statements["started_at"].is_sorted()
    assert statements["id"].n_unique() == statements.height
    assert statements.null_count().sum_horizontal().item() == 0


def test_a_longer_world_begins_like_a_shorter_one_in_batches(one_day: pl.DataFrame) -> None:
    batches = list(World(seed=3, days=2).batches())
    assert max(batch.height for batch in batches) <= 10_000
    assert one_day.equals(pl.concat(batches).head(one_day.height))


def test_a_world_can_be_entered_on_any_day(one_day: pl.DataFrame) -> None:
    both, second = World(seed=3, days=2), World(seed=3, days=2)
    assert whole(second, first=1).equals(whole(both).slice(one_day.height))


def test_a_campaign_that_the_end_cuts_keeps_its_beginning() -> None:
    for seed in range(1, 7):
        short, long = World(seed=seed, days=15), World(seed=seed, days=30)
        begun = [c for c in long.campaigns if c.from_us < short.end_us]
        assert [c.kind for c in short.campaigns] == [c.kind for c in begun]
        for cut, complete in zip(short.campaigns, begun, strict=True):
            assert cut.from_us == complete.from_us
            assert cut.to_us < short.end_us
            assert cut.statement_ids <= complete.statement_ids


def test_a_clean_world_has_the_same_statements_without_those_of_campaigns(
    world: World, statements: pl.DataFrame
) -> None:
    hostile = {number for campaign in world.campaigns for number in campaign.statement_ids}
    clean = World(seed=SEED, days=DAYS, campaigns=False)
    assert clean.campaigns == ()
    assert hostile
    assert whole(clean, FIRST).equals(statements.filter(~pl.col("id").is_in(list(hostile))))


def test_labels_name_statements_that_exist_and_what_they_say(
    world: World, statements: pl.DataFrame
) -> None:
    identity = pl.when(pl.col("identity_name") == "").then("user_name").otherwise("identity_name")
    for campaign in world.campaigns:
        theirs = statements.filter(pl.col("id").is_in(list(campaign.statement_ids)))
        assert theirs.height == len(campaign.statement_ids), campaign.kind
        assert set(theirs.select(identity).to_series()) == set(campaign.identities)
        times = theirs["started_at"].dt.epoch("us")
        assert (times.min(), times.max()) == (campaign.from_us, campaign.to_us)
        places = set(theirs.select("agent", "cluster", "database").iter_rows())
        assert places == set(campaign.places)


@pytest.mark.parametrize("seed", range(1, 9))
def test_thirty_days_have_every_kind_of_campaign_and_a_quiet_week_first(seed: int) -> None:
    world = World(seed=seed)
    kinds = [campaign.kind for campaign in world.campaigns]
    assert set(kinds) == set(KINDS)
    assert len(KINDS) >= 15
    quiet_until = world.start_us + QUIET_DAYS * 86_400_000_000
    assert min(campaign.from_us for campaign in world.campaigns) >= quiet_until
    assert max(campaign.to_us for campaign in world.campaigns) < world.end_us


def test_nobody_runs_two_campaigns_at_a_time() -> None:
    for seed in range(1, 9):
        busy: dict[str, int] = {}
        for campaign in World(seed=seed).campaigns:
            actor = campaign.identities[0]
            assert busy.get(actor, 0) < campaign.from_us, (seed, campaign.kind, actor)
            busy[actor] = campaign.to_us


def test_ordinary_life_is_loud_in_every_way_that_the_page_lists() -> None:
    page = (Path(__file__).parents[2] / "docs" / "world.md").read_text(encoding="utf-8")
    for heading, kinds in (("## Distractors", _distractor_kinds()), ("## Campaigns", set(KINDS))):
        section = page.split(heading)[1].split("\n## ")[0]
        assert set(re.findall(r"^- \*\*(\w+)\*\*", section, re.M)) == kinds


def _distractor_kinds() -> set[str]:
    return {d.kind for seed in range(1, 7) for d in World(seed=seed).distractors}


def test_what_distractors_do_is_no_campaign(world: World, statements: pl.DataFrame) -> None:
    hostile = {number for campaign in world.campaigns for number in campaign.statement_ids}
    for distractor in world.distractors:
        assert distractor.from_us <= distractor.to_us
        assert distractor.reason
    clean = World(seed=SEED, days=DAYS, campaigns=False)
    assert clean.distractors == world.distractors
    made = statements.filter(pl.col("operation") == "create", ~pl.col("id").is_in(list(hostile)))
    assert made.height > 0


def test_sessions_begin_before_what_is_said_in_them(statements: pl.DataFrame) -> None:
    assert (statements["backend_started_at"] <= statements["started_at"]).all()
    session = ["agent", "pid", "backend_started_at"]
    facts = ["user_name", "database", "application_name", "client_address", "identity_name"]
    kept = statements.group_by(session).agg(pl.col(facts).n_unique())
    assert kept.select(pl.max_horizontal(facts).max()).item() == 1


def test_every_text_of_a_world_is_read_by_the_parser(statements: pl.DataFrame) -> None:
    shapes = statements.group_by("parse_status").len()
    known = dict(shapes.iter_rows())
    assert set(known) <= {"parsed", "invalid", ""}
    # What does not parse is a typing error or an attack; logins have no text.
    assert known["invalid"] < 0.01 * statements.height
    broken = statements.filter(pl.col("parse_status") == "invalid")
    assert (broken["sqlstate"] != "00000").all()


def test_a_day_has_its_hours_and_a_week_its_weekend(statements: pl.DataFrame) -> None:
    hours = statements.group_by(pl.col("started_at").dt.hour()).len().sort("started_at")["len"]
    assert hours[3] * 4 < hours[14]
    people = statements.filter(pl.col("identity_kind") == "human")
    days = dict(people.group_by(pl.col("started_at").dt.weekday()).len().iter_rows())
    assert days.get(7, 0) * 3 < days[1]


def test_there_are_as_many_statements_and_identities_as_promised(
    world: World, statements: pl.DataFrame
) -> None:
    assert 150_000 < statements.height / (DAYS - FIRST) < 260_000
    assert len(world.identities) == 48
    assert len({who.role for who in world.identities}) == 8
    assert statements.select("agent", "cluster", "database").n_unique() == 5
