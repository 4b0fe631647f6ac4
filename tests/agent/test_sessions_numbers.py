"""Starts and ends of a round trip carry numbers, so what is lost of them shifts nothing."""

from dataclasses import dataclass

from model.event import Protocol
from tests.agent.test_sessions import Dialogue, error


@dataclass
class Numbered(Dialogue):
    """Knows how many statements of this round trip have ended."""

    round: int = 7
    starts: int = 0

    def begin(self, at, text, number, **more):
        self.starts = number
        return self.start(at, text, number=number, round=self.round, **more)

    def end(self, at, *ends, ended=None, ready=False, starts=0, **more):
        """``ends``: number and rows."""
        numbers = tuple(number for number, _ in ends)
        last = numbers[-1] if ended is None and numbers else ended or 0
        return self.answer(
            at, *(("SELECT", rows) for _, rows in ends), numbers=numbers, ended=last, ready=ready,
            round=self.round, starts=starts or self.starts, **more,
        )  # fmt: skip

    def told(self):
        return [(s.text.decode(), s.rows, s.sqlstate) for s in self.statements()]


def test_the_end_of_a_statement_whose_start_was_lost_is_of_no_other():
    talk = Numbered().begin(1, "a", 1).begin(3, "c", 3)
    talk.end(4, (1, 10), (2, 20), (3, 30), ready=True)
    assert talk.told() == [("a", 10, "00000"), ("c", 30, "00000")]
    assert talk.tracker.losses() == {"statement_start_unseen": 1}


def test_a_lost_end_leaves_its_statement_without_rows_and_shifts_none():
    talk = Numbered().begin(1, "a", 1).begin(2, "b", 2).begin(3, "c", 3)
    talk.end(4, (1, 10)).end(5, (3, 30), ready=True)
    assert talk.told() == [("a", 10, "00000"), ("b", -1, "00000"), ("c", 30, "00000")]
    assert talk.tracker.losses() == {"statement_end_unseen": 1}


def test_lost_ends_before_an_error_shift_none_either():
    talk = Numbered().begin(1, "a", 1).begin(2, "b", 2).begin(3, "c", 3)
    talk.end(4, (2, 20), error=error("22012")).end(5, ended=2, ready=True)
    assert talk.told() == [("a", -1, "00000"), ("b", 20, "00000"), ("c", -1, "22012")]
    assert talk.tracker.losses() == {"statement_end_unseen": 1}


def test_an_error_of_a_statement_whose_start_was_lost_blames_no_other():
    talk = Numbered().begin(1, "a", 1)
    talk.end(4, (1, 10), starts=2, error=error("22012")).end(5, ended=1, starts=2, ready=True)
    assert talk.told() == [("a", 10, "00000")]


def test_an_error_that_was_lost_is_no_success():
    talk = Numbered().begin(1, "a", 1).begin(2, "b", 2)
    talk.end(4, (1, 10)).end(5, ended=1, ready=True)
    assert talk.told() == [("a", 10, "00000"), ("b", -1, "")]


def test_a_round_trip_whose_end_was_lost_leaves_nothing_to_the_next():
    talk = Numbered().begin(1, "a", 1).begin(2, "b", 2)
    talk.round += 1
    talk.begin(3, "c", 1).end(4, (1, 30), ready=True)
    assert talk.told() == [("a", -1, ""), ("b", -1, ""), ("c", 30, "00000")]


def test_a_call_has_a_number_and_no_completion():
    talk = Numbered().begin(1, "a", 1).begin(2, "call", 2, protocol=Protocol.FASTPATH)
    talk.end(3, (1, 10)).end(4, ended=2, ready=True)
    assert talk.told() == [("a", 10, "00000"), ("call", -1, "00000")]
    assert talk.tracker.losses() == {}


def test_what_could_not_be_committed_may_have_ended_in_an_earlier_answer():
    talk = Numbered().begin(1, "a", 1).begin(2, "b", 2)
    talk.end(3, (1, 10), (2, 20)).end(4, ended=2, error=error("23505")).end(5, ended=2, ready=True)
    assert talk.told() == [("a", 10, "00000"), ("b", 20, "23505")]


def test_a_message_that_is_no_statement_spoils_none():
    talk = Numbered().begin(1, "a", 1)
    talk.end(3, (1, 10), error=error("26000")).end(5, ended=1, ready=True)
    assert talk.told() == [("a", 10, "00000")]
    assert talk.tracker.losses() == {"refused_unread": 1}


def test_the_bytes_of_a_long_answer_are_of_the_statement_that_it_completes():
    """The next one has begun when the buffer with its end is written."""
    talk = Numbered().begin(1, "a", 1).begin(2, "b", 2)
    talk.end(3, (1, 10), bytes_sent=9000).end(4, (2, 20), bytes_sent=80, ready=True)
    assert [one.bytes_sent for one in talk.statements()] == [9000, 80]
