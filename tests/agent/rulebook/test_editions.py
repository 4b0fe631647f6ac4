"""Which rules a statement is recorded under, while they are exchanged."""

from agent.rulebook import Edition, Rulebook
from model.statement import ParseStatus
from rules import Judge
from tests.rules.rule_files import load, rule, shape, view

OLD, NEW, NEWER = (f"{n}" * 64 for n in (1, 2, 3))


def editions(folder):
    return [Edition(Judge(load(folder, rule())), digest) for digest in (OLD, NEW, NEWER)]


def test_what_started_before_the_exchange_is_judged_by_the_rules_of_then(tmp_path):
    old, new, _ = editions(tmp_path)
    book = Rulebook(old)
    assert book.judges(50) == (old.judge,)
    book.put(new)
    book.confirm(new, at_us=100)
    assert book.judges(100) == (new.judge,)
    assert book.judges(99)[0] is old.judge


def test_between_the_new_judge_and_the_kernels_forgetting_both_may_have_been_asked(tmp_path):
    old, new, _ = editions(tmp_path)
    book = Rulebook(old)
    assert not book.exchanging()
    book.put(new)
    assert book.exchanging()
    assert book.judge() is new.judge
    assert book.judges(150) == (old.judge, new.judge)


def test_two_exchanges_at_once_are_told_apart(tmp_path):
    old, new, newer = editions(tmp_path)
    book = Rulebook(old)
    book.put(new)
    book.put(newer)
    book.confirm(new, at_us=100)
    assert book.exchanging()
    assert book.judges(150) == (new.judge, newer.judge)
    book.confirm(newer, at_us=200)
    assert not book.exchanging()
    assert book.judges(50) == (old.judge, new.judge)
    assert book.judges(150) == (new.judge, newer.judge)
    assert book.judges(250) == (newer.judge,)


def test_failed_evaluations_of_exchanged_rules_stay_counted(tmp_path):
    broken = rule("statement.text_bytes / (statement.text_bytes - 10) > 1")
    first = Edition(Judge(load(tmp_path, broken)), OLD)
    book = Rulebook(first)
    first.judge.judge(view(shape(ParseStatus.PARSED)))
    for at_us, digest in enumerate((NEW, NEWER, OLD, NEW, NEWER, OLD)):
        edition = Edition(Judge(load(tmp_path, broken)), digest)
        book.put(edition)
        book.confirm(edition, at_us)
    assert book.failed() == {"r": 1}
