"""The text of a held statement is known before its record is decoded, or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from agent.probes.layout import STATEMENT, TEXT_URGENT, RecordKind, TextState
from agent.sources.records import Decoder, held_text
from model.event import Protocol

TEXT = b"SELECT 1"


def record(text=TEXT, *, kind=RecordKind.STATEMENT, held=1, state=0, protocol=0, missing=0):
    return (
        STATEMENT.pack(
            kind, 7, 1, 1, 0, b"k" * 16, b"", 0, 0,
            len(text), len(text) + missing, 3, 0, 0, protocol, 0, held, state, *[0] * 7,
        )
        + text
    )  # fmt: skip


@given(
    kind=st.sampled_from((RecordKind.STATEMENT, RecordKind.NESTED)),
    held=st.integers(0, 1),
    state=st.sampled_from([flag | state for flag in (0, TEXT_URGENT) for state in TextState]),
    protocol=st.integers(0, 2),
    missing=st.integers(0, 1),
)
def test_it_is_the_text_of_the_event(kind, held, state, protocol, missing):
    one = record(kind=kind, held=held, state=state, protocol=protocol, missing=missing)
    text = held_text(one)
    if text:
        (event,) = Decoder(lambda _: "main").decode([one], 0, 0)
        assert (event.text, event.text_bytes, event.held) == (text, len(text), True)
        assert event.protocol is Protocol.QUERY


def test_a_whole_text_is_told():
    assert held_text(record()) == TEXT
    assert held_text(record(state=TEXT_URGENT)) == TEXT


def test_a_text_that_was_cut_or_goes_by_number_is_not():
    assert held_text(record(missing=1)) == b""
    assert held_text(record(state=TextState.KNOWN)) == b""
    assert held_text(record(state=TextState.SAME)) == b""


def test_what_is_not_held_is_not():
    assert held_text(record(held=0)) == b""
