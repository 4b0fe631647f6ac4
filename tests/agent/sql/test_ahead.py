"""A text that a held backend waits for: what rules can see of it comes first, the rest later."""

import os
import signal
import time
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sql.cache import ShapeCache
from agent.sql.client import MAX_AHEAD_BYTES, ParserClient
from agent.sql.shape import answer, judgeable
from model.statement import NOT_JUDGED, ParseStatus, Shape
from tests.agent.sql import fuzz

TEXT = b"SELECT a, 'x' FROM shop.orders WHERE id = 7"
PATIENCE_SECONDS = 5.0
JUDGED = [field.name for field in fields(Shape) if field.name not in NOT_JUDGED]


@pytest.fixture
def client(monkeypatch):
    # A guard cannot wait for the rest of an answer; a test on a busy machine does.
    monkeypatch.setattr("agent.sql.client.KEEP_SECONDS", PATIENCE_SECONDS)
    with ParserClient(ShapeCache(), text_budget_seconds=5) as opened:
        yield opened


def shape_of(client: ParserClient, text: bytes) -> Shape:
    return client.shapes([text], [len(text)])[0]


def ahead(client: ParserClient, text: bytes) -> Shape | None:
    assert client.known(text, len(text)) is None
    assert client.ask_ahead(text)
    return client.answer_soon(text, PATIENCE_SECONDS)


def judged(shape: object) -> list[object]:
    return [getattr(shape, name) for name in JUDGED]


def mutated() -> st.SearchStrategy[str]:
    odd = st.text(alphabet=st.sampled_from("ab01 '\"$\\-/*\n;%(.é"), max_size=10)
    texts = st.sampled_from(fuzz.corpus()).map(
        lambda text: text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    )
    return st.one_of(
        texts,
        st.builds(
            lambda text, extra, at: text[: at % (len(text) + 1)] + extra + text[at % 50 :],
            texts,
            odd,
            st.integers(0, 500),
        ),
    )


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_what_rules_can_see_is_the_same_in_the_first_answer_as_in_the_whole_one(text):
    text = text.replace("\0", "")
    first, whole = judgeable(text)
    assert judged(first) == judged(answer(text))
    assert whole() == answer(text)


def test_the_first_answer_is_what_rules_see_and_the_whole_one_is_remembered(client):
    first = ahead(client, TEXT)
    client.keep()
    kept = client.known(TEXT, len(TEXT))
    assert first is not None
    assert first.status is ParseStatus.PARSED
    assert judged(first) == judged(kept)
    with ParserClient() as other:
        assert kept == shape_of(other, TEXT)
    assert client.counters.parsed == 1


def test_texts_like_it_are_known_then(client):
    ahead(client, TEXT)
    other = TEXT.replace(b"7", b"8")
    assert client.known(other, len(other)) is not None


def test_a_text_that_the_grammar_refuses_is_told_in_full(client):
    first = ahead(client, b"SELEC 'secret' FROM t")
    client.keep()
    assert first == client.known(b"SELEC 'secret' FROM t", 21)
    assert first is not None
    assert first.status is ParseStatus.INVALID


@pytest.mark.parametrize("asked_for_first_answer", [False, True])
def test_whoever_asks_for_its_shape_gets_the_answer_that_is_under_way(
    client, asked_for_first_answer
):
    assert client.known(TEXT, len(TEXT)) is None
    assert client.ask_ahead(TEXT)
    if asked_for_first_answer:
        client.answer_soon(TEXT, PATIENCE_SECONDS)
    shape = shape_of(client, TEXT)
    assert shape.redacted_text == "SELECT a, ? FROM shop.orders WHERE id = ?"
    assert (client.counters.parsed, client.counters.restarts) == (1, 0)


@pytest.mark.parametrize("asked_for_first_answer", [False, True])
def test_another_text_gets_its_own_answer_and_not_the_one_that_is_under_way(
    client, asked_for_first_answer
):
    assert client.known(TEXT, len(TEXT)) is None
    assert client.ask_ahead(TEXT)
    if asked_for_first_answer:
        client.answer_soon(TEXT, PATIENCE_SECONDS)
    assert shape_of(client, b"DROP TABLE t").verbs == ("drop",)
    assert shape_of(client, TEXT).reads == ("shop.orders",)
    assert client.counters.restarts == 0


def test_nobody_is_asked_ahead_while_another_answer_is_under_way(client):
    assert client.ask_ahead(TEXT)
    assert not client.ask_ahead(b"SELECT 1")
    assert client.answer_soon(b"SELECT 1", 0.0) is None


def test_a_text_may_be_asked_ahead_twice_and_is_answered_once(client):
    assert client.ask_ahead(TEXT)
    assert client.ask_ahead(bytes(bytearray(TEXT)))
    assert client.answer_soon(TEXT, PATIENCE_SECONDS) is not None
    client.keep()
    assert client.ask_ahead(b"SELECT 1")
    assert client.counters.parsed == 1


def test_a_long_text_is_left_to_a_thread_that_may_wait(client):
    assert not client.ask_ahead(b"SELECT " + b"1" * MAX_AHEAD_BYTES)


def test_an_answer_that_takes_too_long_is_not_waited_for_and_not_lost(client):
    os.kill(client.worker_pid, signal.SIGSTOP)
    assert client.ask_ahead(TEXT)
    began = time.monotonic()
    assert client.answer_soon(TEXT, 0.02) is None
    assert time.monotonic() - began < 2
    os.kill(client.worker_pid, signal.SIGCONT)
    assert shape_of(client, TEXT).status is ParseStatus.PARSED
    assert client.counters.restarts == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_is_killed_meanwhile_is_replaced_and_the_text_asked_again(client, when):
    if when == "before":
        os.kill(client.worker_pid, signal.SIGKILL)
    asked = client.ask_ahead(TEXT)
    if when == "after":
        os.kill(client.worker_pid, signal.SIGKILL)
    if asked and when == "before":
        assert client.answer_soon(TEXT, PATIENCE_SECONDS) is None
    assert shape_of(client, TEXT).status is ParseStatus.PARSED


def test_where_the_whole_answer_is_not_there_yet_nothing_is_remembered_and_it_comes_later(client):
    first = ahead(client, TEXT)
    assert first is not None
    os.kill(client.worker_pid, signal.SIGSTOP)
    client.keep()
    os.kill(client.worker_pid, signal.SIGCONT)
    whole = shape_of(client, TEXT)
    assert replace(whole, redacted_text="", fingerprint="") == replace(
        first, redacted_text="", fingerprint=""
    )
    assert whole.redacted_text


def test_a_closed_client_is_not_asked_ahead():
    client = ParserClient()
    client.close()
    assert not client.ask_ahead(TEXT)
