"""Rules may ask how many rows statements of the same shape have brought before."""

from rules import History, Judge
from tests.rules.rule_files import load, problems, rule, shape, view

RULE = rule("statement.usual_rows >= 100000 && !('limit' in statement.flags)")


def test_a_shape_is_known_by_the_most_that_it_has_brought(tmp_path):
    judge = Judge(load(tmp_path, RULE))
    huge, other = shape(fingerprint="f"), shape(fingerprint="g")
    assert not judge.judge(view(huge))
    judge.learn(huge, 2_000_000)
    judge.learn(huge, 3)
    judge.learn(other, 900)
    assert judge.judge(view(huge))
    assert not judge.judge(view(other))


def test_nothing_is_kept_where_no_rule_asks(tmp_path):
    judge = Judge(load(tmp_path, rule()))
    judge.learn(shape(fingerprint="f"), 2_000_000)
    assert judge.history.usual_rows("f") == 0


def test_numbers_are_steps_so_that_answers_last():
    history = History()
    history.observe("f", 999)
    assert (history.usual_rows("f"), history.version) == (0, 0)
    history.observe("f", 3_999)
    assert (history.usual_rows("f"), history.version) == (1_000, 1)
    history.observe("f", 1_000)
    assert history.version == 1
    history.observe("f", 64_000)
    assert (history.usual_rows("f"), history.version) == (64_000, 2)


def test_the_memory_is_bounded_and_what_is_in_use_stays():
    history = History(capacity=2)
    for name in ("a", "b", "a", "c"):
        history.observe(name, 5_000)
    assert [history.usual_rows(name) for name in "abc"] == [4_000, 0, 4_000]


def test_an_example_may_say_what_its_shape_has_brought(tmp_path):
    good = RULE + "  examples: {match: [{sql: SELECT 1, usual_rows: 200000}]}\n"
    (only,) = load(tmp_path, good).rules
    assert only.examples[0].usual_rows == 200_000
    bad = RULE + "  examples: {match: [{sql: SELECT 1, usual_rows: many}]}\n"
    assert problems(tmp_path, bad) == ["rules.yaml:7: usual_rows must be a whole number"]
