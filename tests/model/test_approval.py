"""What a grant is bound to, and how long it holds whatever somebody does to the clocks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.approval import CODE_LENGTH, CODE_LETTERS, Bound, Moment, Term, bound_to, read_code
from model.session import BackendKey, Identity, IdentityKind, Session

HOUR = 3_600_000_000
NOW = Moment(wall_us=1_790_000_000_000_000, boot_us=50 * HOUR, boot_id="first")
BOUND = Bound("host", "main", "shop", "app", "", "ab" * 32)


def later(wall=0, boot=None, boot_id="first"):
    return Moment(NOW.wall_us + wall, NOW.boot_us + (wall if boot is None else boot), boot_id)


@pytest.mark.parametrize("field", ["agent", "cluster", "database", "user", "identity", "digest"])
def test_a_request_is_another_one_when_anything_that_it_is_bound_to_differs(field):
    assert replace(BOUND, **{field: "other"}).code != BOUND.code


def test_words_that_move_from_one_name_to_the_next_make_another_request():
    assert replace(BOUND, cluster="mains", database="hop").code != BOUND.code


@given(st.text(), st.text(), st.text())
def test_a_code_has_ten_letters_that_can_be_read_out(cluster, database, user):
    code = Bound("a", cluster, database, user, "", "00").code
    assert len(code) == CODE_LENGTH
    assert set(code) <= set(CODE_LETTERS)
    assert read_code(code.lower()) == code


def test_a_code_is_read_as_people_type_it():
    assert read_code(" abc-o1l-i9 ") == "ABC01119"


def test_a_name_that_is_only_guessed_binds_nothing_and_a_proven_one_does():
    key = BackendKey(1, 1)
    guessed = Session(key, user="app", identity=Identity(IdentityKind.HUMAN, "eve", 0.7))
    proven = replace(guessed, identity=replace(guessed.identity, proven=True))
    assert bound_to("h", guessed, b"x") == bound_to("h", Session(key, user="app"), b"x")
    assert bound_to("h", proven, b"x") != bound_to("h", guessed, b"x")


def test_a_term_ends_when_its_time_is_over():
    term = Term.begin(NOW, HOUR)
    assert term.left_us(later(HOUR - 1)) == 1
    assert term.left_us(later(HOUR)) == 0


def test_a_clock_that_is_set_back_does_not_prolong_it():
    term = Term.begin(NOW, HOUR)
    assert term.left_us(later(wall=-24 * HOUR, boot=HOUR)) == 0
    assert term.left_us(later(wall=-24 * HOUR, boot=HOUR // 2)) == HOUR // 2


def test_a_clock_that_is_set_forward_ends_it():
    assert Term.begin(NOW, HOUR).left_us(later(wall=2 * HOUR, boot=1)) == 0


def test_after_a_restart_of_the_host_the_wall_clock_decides():
    term = Term.begin(NOW, HOUR)
    assert term.left_us(later(wall=HOUR // 2, boot=-50 * HOUR, boot_id="second")) == HOUR // 2
    assert term.left_us(later(wall=HOUR, boot=-50 * HOUR, boot_id="second")) == 0


@given(
    st.integers(-(10**15), 10**15), st.integers(0, 10**13), st.integers(0, 10**12),
    st.booleans(),
)  # fmt: skip
def test_no_jump_of_the_clock_lets_it_live_longer_than_it_was_given(jump, passed, lasts, reboot):
    term = Term.begin(NOW, lasts)
    now = Moment(NOW.wall_us + jump, NOW.boot_us + passed, "first")
    assert term.left_us(now) <= max(0, lasts - passed)
    told_again = term.shortened(Term.begin(now, lasts))
    assert told_again.left_us(now) <= term.left_us(now)
