"""Text written to kill or stall the parser: each is answered, and the next one at once."""

import os
import signal
import threading
import time

import pytest

from agent.sql import process
from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from model.statement import ParseStatus, Shape

HARMLESS = b"SELECT a FROM t WHERE id = 1"
BACK_WITHIN_SECONDS = 1.0


def nested(opening: str, inner: str, closing: str, depth: int) -> bytes:
    return (opening * depth + inner + closing * depth).encode()


HOSTILE = {
    "24k terms": b"SELECT 1" + b"+1" * 24_000,
    "200k parentheses": nested("SELECT (", "1", ")", 1) + nested("(", "1", ")", 200_000),
    "10k parentheses": b"SELECT " + nested("(", "1", ")", 10_000),
    "9k casts": b"SELECT 1" + b"::int" * 9_000,
    "4k unions": b"SELECT 1" + b" UNION SELECT 1" * 4_000,
    "2k subqueries": nested("SELECT * FROM (", "SELECT 1", ") x", 2_000),
    "1500 cases": b"SELECT " + nested("CASE WHEN true THEN ", "1", " END", 1_500),
    "15k NOT": b"SELECT " + b"NOT " * 15_000 + b"true",
    "20k conditions": b"DELETE FROM t WHERE a=1" + b" OR a=1" * 8_000,
    "7k statements": b"SELECT 1;" * 7_000,
    "7k semicolons": b";" * 60_000,
    "nested comments": b"/*" * 32_000,
    "nested comments, closed": b"/*" * 10_000 + b"*/" * 10_000 + b" SELECT 1",
    "flat comments": b"/**/" * 16_000 + b"SELECT 1",
    "line comments": b"--\n" * 20_000 + b"SELECT 1",
    "quotes": b"SELECT " + b"'" * 60_000,
    "odd quotes": b"SELECT " + b"'" * 60_001,
    "double quotes": b'SELECT "' + b'""' * 30_000 + b'"',
    "dollars": b"SELECT $a" + b"$a" * 30_000,
    "digits": b"SELECT " + b"9" * 60_000,
    "one name": b"SELECT " + b"a" * 60_000,
    "dots": b"SELECT " + b"a." * 30_000 + b"a",
    "deep DO": b"DO $$" + b" BEGIN " * 9_000 + b"$$",
    "wide DO": b"DO $$ BEGIN " + b"DELETE FROM t;" * 4_000 + b" END $$",
    "EXECUTE in DO": b"DO $$ BEGIN " + b"EXECUTE 'DROP TABLE t';" * 2_500 + b" END $$",
    "5 MB": b"INSERT INTO t VALUES (" + b"'x'," * 1_250_000 + b"1)",
    "10 MB of statements": b"SELECT 1;" * 1_100_000,
    "1 MB of comments": b"/*" * 500_000,
    "1 MB of short comments": b"/**/" * 250_000,
    "1 MB of words": b"a " * 500_000,
    "NUL": b"SELECT 1;\0 DROP TABLE t",
    "NULs": b"\0" * 1_000,
    "not UTF-8": b"SELECT '\xff\xfe'",
    "lone surrogate": b"SELECT '\xed\xa0\x80'",
    "overlong": b"SELECT \xc0\xaf",
    "control characters": bytes(range(1, 32)),
    "empty": b"",
    "blank": b" \n\t",
    "emoji": "SELECT '\U0001f4a5', \U0001f4a5 FROM \U0001f4a5".encode(),
}
NOT_PARSED = {
    "10 MB of statements": ParseStatus.TOO_LONG,
    "5 MB": ParseStatus.TOO_LONG,
    "NUL": ParseStatus.NUL,
    "NULs": ParseStatus.NUL,
    "not UTF-8": ParseStatus.PARSED,
    "lone surrogate": ParseStatus.PARSED,
    "24k terms": ParseStatus.FAILED,
    "quotes": ParseStatus.PARSED,
    "odd quotes": ParseStatus.INVALID,
    "7k statements": ParseStatus.PARSED,
    "blank": ParseStatus.PARSED,
}


def one(client: ParserClient, text: bytes) -> Shape:
    (shape,) = client.shapes([text], [len(text)])
    return shape


def assert_back(client: ParserClient) -> None:
    """A text never seen before is understood within a second."""
    started = time.monotonic()
    text = HARMLESS + f" AND x{time.monotonic_ns()} = 2".encode()
    assert one(client, text).status is ParseStatus.PARSED
    assert time.monotonic() - started < BACK_WITHIN_SECONDS


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_answered_and_the_next_one_is_understood(parser, name):
    started = time.monotonic()
    shape = one(parser, HOSTILE[name])
    assert time.monotonic() - started < 3
    assert shape.status is NOT_PARSED.get(name, shape.status)
    assert len(shape.redacted_text) < 20_000
    assert_back(parser)


def test_all_hostile_texts_in_one_batch_are_answered_in_order():
    texts = [text for pair in zip(HOSTILE.values(), [HARMLESS] * 99, strict=False) for text in pair]
    with ParserClient() as client:
        shapes = client.shapes(texts, [len(text) for text in texts])
        assert len(shapes) == len(texts)
        assert {shape.status for shape in shapes[1::2]} == {ParseStatus.PARSED}
        assert_back(client)


def slow_text(number: int = 0) -> bytes:
    """A tree of tens of thousands of nodes takes more than any budget here."""
    return b"INSERT INTO t%d VALUES " % number + b",".join([b"(1,'a',2,b,f(3))"] * 3_700)


def test_a_text_out_of_time_fails_alone_and_is_not_tried_again_at_once():
    texts = [b"SELECT a%d" % i for i in range(300)]
    texts[150] = slow_text()
    with ParserClient(text_budget_seconds=0.02) as client:
        shapes = client.shapes(texts, [len(text) for text in texts])
        statuses = [shape.status for shape in shapes]
        assert statuses[150] is ParseStatus.FAILED
        assert statuses.count(ParseStatus.PARSED) == 299
        restarts = client.counters.restarts
        assert restarts >= 1
        assert one(client, slow_text()).status is ParseStatus.FAILED
        assert client.counters.restarts == restarts
        assert client.counters.by_status[ParseStatus.FAILED] == 1
        assert_back(client)


def test_a_worker_killed_from_outside_costs_no_text_its_answer():
    texts = [b"SELECT a, b, c FROM t WHERE id%d = 1 AND x IN (1, 2, 3)" % i for i in range(3_000)]
    with ParserClient() as client:
        stop = threading.Event()

        def kill_now_and_then() -> None:
            while not stop.wait(0.3):
                if client.worker_pid:
                    os.kill(client.worker_pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            shapes = client.shapes(texts, [len(text) for text in texts])
        finally:
            stop.set()
            killer.join()
        assert [shape.status for shape in shapes] == [ParseStatus.PARSED] * len(texts)
        assert client.counters.restarts >= 1
        assert_back(client)


def test_a_worker_found_dead_is_replaced_unnoticed():
    with ParserClient() as client:
        os.kill(client.worker_pid, signal.SIGKILL)
        assert_back(client)
        assert client.counters.by_status[ParseStatus.FAILED] == 0


def with_spare(client: ParserClient) -> int:
    """The pid of the worker at work, as soon as another one stands ready."""
    limit = time.monotonic() + 20
    while not client.has_spare:
        assert time.monotonic() < limit
        time.sleep(0.01)
    return client.worker_pid


def test_a_spare_worker_takes_over_from_a_killed_one_and_is_replaced():
    with ParserClient(spare=True) as client:
        for number in range(3):
            pid = with_spare(client)
            os.kill(pid, signal.SIGKILL)
            assert one(client, b"DROP TABLE t%d" % number).status is ParseStatus.PARSED
            assert client.worker_pid != pid
        assert client.counters.restarts == 3


def test_a_text_that_kills_one_worker_is_not_given_to_the_spare_one():
    with ParserClient(text_budget_seconds=0.02, spare=True) as client:
        with_spare(client)
        assert one(client, slow_text()).status is ParseStatus.FAILED
        assert client.counters.restarts == 1
        assert_back(client)
        assert client.counters.restarts == 1


def test_a_host_that_is_out_of_processes_for_a_while_costs_no_spare(monkeypatch):
    with ParserClient(spare=True) as client:
        with_spare(client)
        spawn, refusals = process._spawn, [1] * 3

        def refuse(connection):
            if refusals:
                refusals.pop()
                raise OSError(11, "Resource temporarily unavailable")
            return spawn(connection)

        monkeypatch.setattr(process, "_spawn", refuse)
        os.kill(client.worker_pid, signal.SIGKILL)
        assert one(client, b"SELECT 1").status is ParseStatus.PARSED
        with_spare(client)
        assert refusals == []


def test_a_client_with_a_spare_leaves_no_process_behind():
    client = ParserClient(spare=True)
    pid = with_spare(client)
    client.close()
    assert not os.path.exists(f"/proc/{pid}")
    assert not client.has_spare


def test_a_stopped_worker_is_given_up():
    with ParserClient(text_budget_seconds=0.02) as client:
        pid = client.worker_pid
        os.kill(pid, signal.SIGSTOP)
        assert one(client, HARMLESS).status is ParseStatus.FAILED
        assert not os.path.exists(f"/proc/{pid}")
        assert_back(client)


def test_two_clients_share_what_they_learn_and_do_not_wait_for_each_other():
    cache = ShapeCache()
    with ParserClient(cache, text_budget_seconds=1) as pipeline, ParserClient(cache) as guard:
        assert one(pipeline, HARMLESS) is one(guard, HARMLESS)
        assert guard.counters.cached == 1
        busy = threading.Thread(target=one, args=(pipeline, slow_text()))
        busy.start()
        assert_back(guard)
        assert busy.is_alive()
        busy.join()


def test_threads_may_share_one_client():
    with ParserClient() as client:
        answers: dict[int, list[Shape]] = {}

        def ask(number: int) -> None:
            texts = [b"SELECT %d FROM t%d" % (i, number) for i in range(200)]
            answers[number] = client.shapes(texts, [len(text) for text in texts])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(4):
            assert {shape.reads for shape in answers[number]} == {(f"t{number}",)}


def test_a_closed_client_still_answers():
    client = ParserClient()
    client.close()
    client.close()
    shape = one(client, b"DROP TABLE t")
    assert (shape.status, shape.operation, shape.verbs) == (ParseStatus.FAILED, "drop", ())


def test_a_text_that_no_one_parsed_still_has_its_first_word(parser):
    cut = parser.shapes([b"INSERT INTO t VALUES (1"], [5_000_000])[0]
    assert (cut.operation, cut.summary, cut.verbs) == ("insert", "INSERT", ())
    assert cut.redacted_text == "INSERT INTO t VALUES (?"
    assert one(parser, b"s3cret FROM t").operation == ""
