"""What a program does anew is told together, once, when it is over."""

from __future__ import annotations

import pytest

from analytics.detectors.application_change import ApplicationChange, ApplicationChangeSettings
from analytics.detectors.new_shape import NewShape, NewShapeSettings
from analytics.findings import DAY_US
from model.finding import FindingKind
from model.verdict import Severity
from tests.analytics.streams import START_US, frame, statement

API = {"user_name": "app", "identity_name": "orders-api", "identity_kind": "service"}
SETTINGS = ApplicationChangeSettings(learn_seconds=3600, learn_statements=100, settle_seconds=60)
RELEASE_AT = 8000.0


def call(second, shape, relation, columns=(), **words):
    known = API | {"fingerprint": shape, "summary": f"SELECT {relation}", "reads": [relation]}
    return statement(second, **known | {"columns_used": list(columns)} | words)


def old_release(begin, end):
    """Two shapes, every two seconds."""
    return [
        call(second, f"f{second // 2 % 2}", "shop.orders", ["id", "state"])
        for second in range(int(begin), int(end), 2)
    ]


def new_release(begin, end, **words):
    """Three new shapes, one on a new table; shape f1 is gone."""
    shapes = [
        ("f0", "shop.orders", ["id", "state"]),
        ("n1", "shop.orders", ["id", "coupon"]),
        ("n2", "shop.coupons", ["id"]),
        ("n3", "shop.orders", ["state"]),
    ]
    return [
        call(second, *shapes[second // 2 % len(shapes)], **words)
        for second in range(int(begin), int(end), 2)
    ]


def tell(rows, settings=SETTINGS, size=500):
    detector, state, found = ApplicationChange(settings), None, []
    state = detector.empty_state()
    whole = frame(rows)
    for at in range(0, whole.height, size):
        state, news = detector.observe(state, whole.slice(at, size))
        found += news
    return state, found


@pytest.mark.parametrize("size", [1, 7, 500, 10_000])
def test_a_release_is_one_finding_with_all_that_is_new_and_gone(size):
    rows = old_release(RELEASE_AT - 640, RELEASE_AT) + new_release(RELEASE_AT, RELEASE_AT + 300)
    learned = ApplicationChangeSettings(learn_seconds=600, learn_statements=100, settle_seconds=60)
    _, [found] = tell(rows, learned, size)
    assert found.kind is FindingKind.DRIFT
    assert found.sentence == (
        "orders-api changed: 3 new shapes, 1 new table, 1 new column, 1 dropped:"
        " shop.coupons, SELECT shop.orders, SELECT shop.coupons"
    )
    details = dict(found.details)
    assert details["new_relations"] == "shop.coupons"
    assert details["new_columns"] == "coupon"
    assert details["dropped"] == "SELECT shop.orders"
    assert found.at_us == START_US + int((RELEASE_AT + 2) * 1e6)


def test_what_goes_on_as_before_is_no_change():
    assert tell(old_release(0, 20_000))[1] == []


def test_a_program_that_is_not_known_long_enough_only_teaches():
    rows = old_release(0, 3000) + new_release(3000, 3500)
    assert tell(rows)[1] == []


def test_people_are_not_told_of():
    human = {"identity_kind": "human"}
    rows = [row | human for row in old_release(0, RELEASE_AT)]
    assert tell(rows + new_release(RELEASE_AT, RELEASE_AT + 300, **human))[1] == []


def test_a_change_is_told_by_the_clock_where_nothing_follows():
    rows = old_release(0, RELEASE_AT) + new_release(RELEASE_AT, RELEASE_AT + 20)
    state, found = tell(rows)
    assert found == []
    detector = ApplicationChange(SETTINGS)
    early, found = detector.settle(state, START_US + int((RELEASE_AT + 30) * 1e6))
    assert found == []
    later, [told] = detector.settle(early, START_US + int((RELEASE_AT + 90) * 1e6))
    assert "3 new shapes, 1 new table" in told.sentence
    assert detector.settle(later, START_US + DAY_US)[1] == []


def test_two_releases_are_two_findings():
    rows = old_release(0, RELEASE_AT) + new_release(RELEASE_AT, RELEASE_AT + 300)
    rows += [call(RELEASE_AT + 300 + n, "later", "shop.refunds") for n in range(100)]
    _, found = tell(rows)
    assert [f.sentence.partition(":")[2][:14] for f in found] == [
        " 3 new shapes,",
        " 1 new shape, ",
    ]
    assert len({f.id for f in found}) == 2


def test_a_change_wakes_nobody_also_where_an_agent_makes_it():
    bot = {"identity_kind": "ai_agent"}
    rows = [row | bot for row in old_release(0, RELEASE_AT)]
    _, [found] = tell(rows + new_release(RELEASE_AT, RELEASE_AT + 300, **bot))
    assert found.severity is Severity.LOW


def test_a_change_that_never_settles_is_told_all_the_same():
    settings = ApplicationChangeSettings(
        learn_seconds=3600, learn_statements=100, settle_seconds=60, longest_seconds=1000
    )
    rows = old_release(0, RELEASE_AT)
    rows += [call(RELEASE_AT + 5 * n, f"x{n}", "shop.orders") for n in range(1000)]
    _, found = tell(rows, settings)
    assert len(found) == 4


def test_a_row_from_the_past_counts_at_its_arrival():
    rows = old_release(0, RELEASE_AT)
    late = call(100.0, "n1", "shop.orders")
    _, [found] = tell([*rows, late, *old_release(RELEASE_AT, RELEASE_AT + 300)])
    assert found.at_us == START_US + int((RELEASE_AT - 2) * 1e6)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_statement_that_comes_late_does_not_bring_back_what_is_gone(size):
    """It waited for its audit record; those of the new release, for nothing."""
    old, new = old_release(0, RELEASE_AT), new_release(RELEASE_AT, RELEASE_AT + 300)
    straggler = old.pop()
    assert straggler["fingerprint"] == "f1"
    _, [found] = tell([*old, *new[:4], straggler, *new[4:]], size=size)
    assert dict(found.details)["dropped"] == "SELECT shop.orders"


def test_what_is_used_again_by_a_clock_that_was_set_back_is_not_gone():
    old, new = old_release(0, RELEASE_AT), new_release(RELEASE_AT, RELEASE_AT + 300)
    back = [call(RELEASE_AT - 3600 + n, "f1", "shop.orders") for n in range(20)]
    _, [found] = tell([*old, *new[:4], *back, *new[4:]])
    assert dict(found.details)["dropped"] == ""


def test_an_agent_with_a_wrong_clock_does_not_hold_up_the_others():
    ahead = call(1e9, "f0", "shop.orders", agent="host-b")
    rows = [ahead, *old_release(0, RELEASE_AT), *new_release(RELEASE_AT, RELEASE_AT + 300)]
    assert len(tell(rows)[1]) == 1


def test_the_shapes_of_a_release_are_not_told_one_by_one():
    rows = old_release(0, RELEASE_AT) + new_release(RELEASE_AT, RELEASE_AT + 300)
    detector = NewShape(NewShapeSettings(day_seconds=1000, min_bits=0.5))
    _, found = detector.observe(detector.empty_state(), frame(rows))
    released = [f for f in found if f.at_us >= START_US + RELEASE_AT * 1_000_000]
    # Before the second nobody can know that it is a release.
    assert [f.object for f in released] == ["n1"]
