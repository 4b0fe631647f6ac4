"""What the kernel may let pass without a hold, and what makes it forget that."""

import pytest

from agent.guard.allowances import Allowances, plain
from model.event import StatementStarted
from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import ParseStatus, Shape

BACKEND = BackendKey(7, 1)
SHAPE = Shape(ParseStatus.PARSED, "0" * 64, "SELECT ?")
KEY, SKELETON = b"k" * 16, b"s" * 16
TOUCHED = 77


class Table:
    """The kernel's tables, as the probe would look at them."""

    def __init__(self) -> None:
        self.classes: dict[BackendKey, tuple[int, int]] = {}
        self.allowed: set[tuple[bytes, int, int, bool]] = set()

    def classify(self, backend: BackendKey, number: int, naming: int) -> None:
        self.classes[backend] = number, naming

    def allow(self, text_key: bytes, touched: int, number: int, *, skeleton: bool) -> None:
        self.allowed.add((text_key, touched, number, skeleton))

    def forget_allowed(self) -> None:
        self.allowed.clear()

    def passes(self, backend: BackendKey, naming: int, touched: int = TOUCHED) -> bool:
        number, as_of = self.classes.get(backend, (0, 0))
        return as_of == naming and bool(
            {(KEY, touched, number, False), (SKELETON, touched, number, True)} & self.allowed
        )


def session(**facts: object) -> Session:
    return Session(**{"key": BACKEND, "user": "alice", "database": "shop", **facts})


def started(text=b"SELECT 1", naming=0, **fields) -> StatementStarted:
    defaults = {"text_key": KEY, "skeleton": SKELETON, "held": True, "touched": TOUCHED}
    return StatementStarted(0, BACKEND, text, len(text), naming=naming, **{**defaults, **fields})


def allowances(interchangeable=True, limit=100) -> tuple[Table, Allowances]:
    table = Table()
    return table, Allowances(table, lambda text: interchangeable, limit)


def test_what_was_allowed_passes_and_is_held_again_once_the_session_has_another_name():
    table, known = allowances()
    known.know(session(), 0)
    known.allow(started(), SHAPE)
    assert table.passes(BACKEND, naming=0)
    assert not table.passes(BACKEND, naming=1)
    known.know(session(application_name="other"), 1)
    assert not table.passes(BACKEND, naming=1)


@pytest.mark.parametrize(
    "facts",
    [
        {"user": "bob"},
        {"database": "hr"},
        {"application_name": "psql"},
        {"client_address": "10.0.0.1"},
        {"cluster": "5433"},
        {"superuser": True},
        {"identity": Identity(IdentityKind.AI_AGENT)},
        {"identity": Identity(name="eve")},
        {"identity": Identity(confidence=0.5)},
        {"identity": Identity(proven=True)},
    ],
    ids=str,
)
def test_whatever_a_rule_can_see_of_a_session_makes_it_another_class(facts):
    table, known = allowances()
    known.know(session(), 0)
    known.allow(started(), SHAPE)
    known.know(session(**facts), 0)
    assert not table.passes(BACKEND, 0)
    known.know(session(), 0)
    assert table.passes(BACKEND, 0), "the same facts are the same class"


def test_what_was_allowed_is_held_again_once_its_names_mean_other_relations():
    table, known = allowances()
    known.know(session(), 0)
    known.allow(started(), SHAPE)
    assert table.passes(BACKEND, naming=0)
    assert not table.passes(BACKEND, naming=0, touched=78)


def test_a_verdict_over_facts_of_an_older_name_allows_nothing():
    table, known = allowances()
    known.know(session(), 1)
    known.allow(started(naming=0), SHAPE)
    assert not table.allowed


def test_a_backend_of_which_nothing_is_known_is_allowed_nothing():
    table, known = allowances()
    known.allow(started(), SHAPE)
    known.know(session(), 0)
    known.forget(BACKEND)
    known.allow(started(), SHAPE)
    assert not table.allowed


def test_a_text_under_which_the_parser_died_is_asked_about_again():
    table, known = allowances()
    known.know(session(), 0)
    known.allow(started(), Shape(ParseStatus.FAILED, "0" * 64, ""))
    assert not table.allowed


@pytest.mark.parametrize(
    ("event", "interchangeable"),
    [
        (started(), False),
        (started(skeleton=b""), True),
        (started(b"SELECT 'a 1'"), True),
    ],
    ids=["a value decides", "a long text", "not plain"],
)
def test_only_this_text_passes_where_numbers_might_matter(event, interchangeable):
    table, known = allowances(interchangeable)
    known.know(session(), 0)
    known.allow(event, SHAPE)
    assert {skeleton for *_, skeleton in table.allowed} == {False}


def test_a_full_table_is_emptied_and_fills_with_what_is_in_use():
    table, known = allowances(limit=2)
    known.know(session(), 0)
    for number in range(3):
        known.allow(started(text_key=bytes([number]) * 16, skeleton=b""), SHAPE)
    assert [key for key, *_ in table.allowed] == [b"\2" * 16]


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        b"UPDATE t SET a = a + -5 WHERE b IN (1, 2,3)\n",
        b"SELECT t1.c2, count(*) FROM s3.t1 LIMIT 10",
    ],
)
def test_numbers_in_a_plain_text_are_numbers(text):
    assert plain(text)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 'it is 1'",
        b'SELECT "1"',
        b"SELECT $1",
        b"SELECT $$1$$",
        b"SELECT 1 -- 2",
        b"SELECT /* 1 */ 2",
        b"SELECT 1e5",
        b"SELECT 1.5",
        b"SELECT 0x1F",
        b"SELECT 1_000",
        b"SELECT 123abc",
        b"SELECT E\\1",
        b"SELECT \xc3\xa91",
        b"SELECT 1\0",
    ],
)
def test_what_could_make_a_digit_part_of_something_else_is_not_plain(text):
    assert not plain(text)


def test_nothing_is_told_to_the_kernel_while_rules_are_exchanged():
    """The record would judge what passed without a hold by the rules of before."""
    table, exchanging = Table(), [True]
    known = Allowances(table, lambda text: True, exchanging=lambda: exchanging[0])
    known.know(session(), 0)
    known.allow(started(), SHAPE)
    assert not table.passes(BACKEND, naming=0)
    exchanging[0] = False
    known.allow(started(), SHAPE)
    assert table.passes(BACKEND, naming=0)
