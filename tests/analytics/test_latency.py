"""How long statements of one shape take."""

import random

from analytics.detectors.latency import Latency
from tests.analytics.streams import batches, frame, statement

DAY = 86_400


def runs(day, shape="f1", factor=1.0, count=200, who="web", base_us=5_000):
    dice = random.Random(f"{day} {shape} {who} {factor}")
    return [
        statement(
            day * DAY + 3600 * 8 * n / count, user_name=who, fingerprint=shape,
            summary=f"SELECT shop.{shape}", reads=[f"shop.{shape}"],
            duration_us=int(base_us * factor * dice.lognormvariate(0, 0.4)),
        )
        for n in range(count)
    ]  # fmt: skip


def ordinary(days=10, shapes=4):
    return [row for day in range(days) for n in range(shapes) for row in runs(day, f"f{n}")]


def told(rows):
    detector = Latency()
    state, found = detector.empty_state(), []
    for part in batches(frame(sorted(rows, key=lambda row: row["started_at"])), 700):
        state, news = detector.observe(state, part)
        found += news
    return found


def of(rows, shape="f1", day=10):
    since = statement(day * DAY)["started_at"]
    return max(
        (f for f in told(rows) if f.object == shape and f.at_us >= since),
        key=lambda finding: finding.score,
        default=None,
    )


def ddl(day, second, summary, **words):
    return statement(
        day * DAY + second, user_name="dba", operation=summary.split()[0].lower(), summary=summary,
        fingerprint="ddl", **words,
    )  # fmt: skip


def test_a_shape_that_became_slower_after_an_index_was_dropped_names_who_dropped_it():
    dropped = ddl(10, -60, "DROP INDEX shop.f1_email_idx")
    found = of([*ordinary(), dropped, *runs(10, factor=9)])
    assert found.score > 4
    assert found.sentence.startswith("SELECT shop.f1 of web has become slower: p")
    assert found.sentence.endswith("since dba ran DROP INDEX shop.f1_email_idx")
    assert dict(found.details)["since_by"] == "dba"


def test_ddl_on_another_table_is_not_blamed():
    elsewhere = ddl(10, -60, "ALTER TABLE shop.other", writes=["shop.other"])
    found = of([*ordinary(), elsewhere, *runs(10, factor=9)])
    assert "since" not in found.sentence


def test_ddl_on_the_table_itself_is_named():
    altered = ddl(10, -60, "ALTER TABLE shop.f1", writes=["shop.f1"])
    assert (
        "since dba ran ALTER TABLE shop.f1"
        in of([*ordinary(), altered, *runs(10, factor=9)]).sentence
    )


def test_a_single_slow_block_is_no_drift():
    hiccup = [*runs(10)[:80], *runs(10, factor=9)[80:120], *runs(10)[120:]]
    found = of(ordinary() + hiccup)
    assert found is None or found.score < 3


def test_an_ordinary_day_surprises_nobody():
    assert [f for f in told(ordinary(days=14)) if f.score >= 3] == []


def test_the_slower_the_stranger():
    little, much = (of(ordinary() + runs(10, factor=factor)) for factor in (2, 12))
    assert (little.score if little else 0) < much.score


def test_what_takes_less_than_a_millisecond_is_never_remarkable():
    fast = [row for day in range(10) for row in runs(day, "f9", base_us=20)]
    assert of(fast + runs(10, "f9", factor=10, base_us=20), "f9") is None


def test_a_failed_statement_tells_nothing_of_the_latency():
    failed = [row | {"sqlstate": "57014"} for row in runs(10, factor=50)]
    assert of(ordinary() + failed) is None
