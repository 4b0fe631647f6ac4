"""What rules are asked about a held string of several statements."""

import pytest

from agent.judge import looks_at
from agent.planned import Touched
from model.session import BackendKey, Session
from model.statement import ParseStatus, Shape
from rules import View


def part(operation, *writes, flags=()):
    changes = tuple(f"{operation} {name}" for name in writes)
    words = {"operation": operation, "verbs": (operation,), "writes": writes, "changes": changes}
    return Shape(ParseStatus.PARSED, "", "", flags=("multi", *flags), **words)


EMPTIES = part("delete", "stage", flags=("missing_where",))
FILLS = part("insert", "t")
DROPS = part("drop")
WHOLE = Shape(
    ParseStatus.PARSED,
    "",
    "",
    verbs=("delete", "insert", "drop"),
    writes=("stage", "t"),
    parts=(EMPTIES, FILLS, DROPS),
)
VIEW = View(WHOLE, Session(BackendKey(1, 1)), 10)
STAGE = Touched(("delete",), (), ("pg_temp.stage",), (), (), 3.0, complete=True)


def test_the_plan_is_that_of_the_statement_that_is_about_to_run():
    now, *later = looks_at(VIEW, STAGE, 0)
    assert now.shape.writes == ("stage", "pg_temp.stage")
    assert (now.resolved, now.estimated_rows) == (True, 3.0)
    assert [each.shape for each in later] == [FILLS, DROPS]


def test_what_has_run_is_not_asked_about_again_and_what_is_to_come_is():
    assert [each.shape for each in looks_at(VIEW, None, 1)] == [FILLS, DROPS]


def test_names_of_a_later_statement_are_asked_about_when_its_plan_is_there():
    """Only of one that has a plan: of DROP nobody will know more than its text."""
    late = VIEW._replace(shape=Shape(ParseStatus.PARSED, "", "", parts=(FILLS, EMPTIES, DROPS)))
    now, empties, drops = looks_at(late, None, 0)
    assert (now.resolved, empties.resolved, drops.resolved) == (False, True, False)


@pytest.mark.parametrize("touched", [None, STAGE])
def test_a_plan_that_may_be_any_statements_is_laid_over_each(touched):
    looks = looks_at(VIEW, touched, None)
    assert [each.shape.operation for each in looks] == ["delete", "insert", "drop"]
    if touched:
        assert all("pg_temp.stage" in each.shape.writes for each in looks)


def test_a_statement_alone_is_seen_as_ever():
    alone = VIEW._replace(shape=EMPTIES)
    (look,) = looks_at(alone, STAGE, None)
    assert look.shape.writes == ("stage", "pg_temp.stage")
