"""What is told from a like text is what the parser would have said."""

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from agent.sql.skeleton import literals_in, skeleton_of
from agent.sql.templates import Templates
from model.statement import ParseStatus, Shape
from tests.agent.sql import fuzz


@pytest.fixture(scope="module")
def fresh():
    """A parser that remembers nothing."""
    with ParserClient(ShapeCache(max_bytes=0, templates=Templates(max_bytes=0))) as client:
        yield client


def one(client: ParserClient, text: str | bytes) -> Shape:
    data = text.encode() if isinstance(text, str) else text
    (shape,) = client.shapes([data], [len(data)])
    return shape


@pytest.fixture(scope="module")
def told(fresh):
    """Whether the second text's Shape comes from the first one's."""
    with ParserClient() as client:

        def ask(first: str | bytes, second: str | bytes) -> bool:
            one(client, first)
            before = client.counters.templated, client.counters.cached
            assert one(client, second) == one(fresh, second)
            assert client.counters.cached == before[1]
            return client.counters.templated > before[0]

        yield ask


@pytest.mark.parametrize(("seed", "max_skeletons"), [(20251, 4_000), (20252, 6)])
def test_thousands_of_mutated_literals_change_nothing_but_what_the_parser_changes(
    seed, max_skeletons
):
    outcome = fuzz.run(seed, 2_000, max_skeletons)
    assert outcome.wrong == []
    assert outcome.templated > 200


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(fuzz.corpus()),
    st.text(alphabet=st.sampled_from("ab01 '\"$\\-/*\n;%(.é"), max_size=10),
    st.text(alphabet=st.sampled_from("ab01 '\"$\\-/*\n;%(.é"), max_size=10),
    st.randoms(use_true_random=False),
)
def test_noise_in_and_around_literals_is_never_taken_for_a_literal(
    parser, fresh, text, one_noise, other_noise, random
):
    """Each noise is put at the same place: before, in or behind one of the literals."""
    literals = list(literals_in(text.encode()))
    at = random.choice(literals) if literals else None
    place = random.choice((at.start, at.start + 1, at.end)) if at else 0
    data = text.encode()
    for noise in (one_noise, other_noise):
        changed = data[:place] + noise.encode() + data[place:]
        assert one(parser, changed) == one(fresh, changed)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("SELECT a FROM t WHERE id = 5;", "SELECT a FROM t WHERE id = 1234567;"),
        ("UPDATE t SET a = a + -5 WHERE b = 'x'", "UPDATE t SET a = a + -77 WHERE b = 'it''s /*'"),
        ("INSERT INTO t VALUES (1, 2.5, now())", "INSERT INTO t VALUES (0, 70.25, now())"),
        ("SELECT 1 FROM t /*id='5a'*/", "SELECT 1 FROM t /*id='6b', who='it''s'*/"),
        ('SELECT "a" FROM "t" WHERE b = 3 LIMIT 5', 'SELECT "a" FROM "t" WHERE b = 4 LIMIT 7'),
        ("SELECT a FROM t LIMIT 20 OFFSET 0", "SELECT a FROM t LIMIT 20 OFFSET 40"),
        ("SELECT 12345678901", "SELECT 99999999999"),
        ("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = 'ü'"),
        ("SELECT a FROM t WHERE 1 = 1 AND b = 5", "SELECT a FROM t WHERE 1 = 1 AND b = 6"),
        ("BEGIN /* 1 */", "BEGIN /* 2 */"),
        ("INSERT INTO t VALUES ('{}')", r"INSERT INTO t VALUES ('{" "a" ": " "x\n" "}')"),
        ("SELECT a FROM t WHERE b LIKE 'x%'", "SELECT a FROM t WHERE b LIKE '%y%'"),
    ],
)
def test_a_text_like_one_before_needs_no_parser(told, first, second):
    assert told(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("DELETE FROM t WHERE 1 = 2", "DELETE FROM t WHERE 1 = 1"),
        ("DELETE FROM t WHERE a LIKE 'x%'", "DELETE FROM t WHERE a LIKE '%'"),
        ("DELETE FROM t WHERE 0::bool", "DELETE FROM t WHERE 1::bool"),
        ("DELETE FROM t WHERE 5 IN (1, 2)", "DELETE FROM t WHERE 5 IN (1, 5)"),
        ("DELETE FROM t WHERE a + 1 = a + 0", "DELETE FROM t WHERE a + 1 = a + 1"),
        ("SELECT set_config('a.b', 'x', true)", "SELECT set_config('role', 'x', true)"),
        ("SELECT float(5) '1'", "SELECT float(55) '1'"),
        ("SELECT float(5) '1'", "SELECT float(25) '1'"),
        ("SELECT U&'x' UESCAPE '!'", "SELECT U&'x' UESCAPE 'ab'"),
        ("SELECT 5 /* a */", "SELECT 5 /* a /* b */ */"),
        ("SELECT 5 /* a */", "SELECT 5 /* a /*/"),
        ("SELECT 1 AS n", "SELECT 1.5 AS n"),
        ("SELECT a FROM t LIMIT 5", "SELECT a FROM t LIMIT 1000000"),
        ("SELECT 1999999999", "SELECT 2999999999"),
        ("SELECT 'a'\n'b'", "SELECT 'c'\n'd'"),
        ("SELECT 'a'", "SELECT 'a\\'"),
        ("SELECT 'a'", "SELECT E'a'"),
        ("SELECT 'a'", b"SELECT '\xff'"),
        ("SELECT 'a'", b"SELECT '\0'"),
        ("SELECT 5", "SELECT 5a"),
        ("SET work_mem = 5", "SET work_mem = 6"),
        ("ALTER TABLE t ALTER 5 SET STATISTICS 5", "ALTER TABLE t ALTER 0 SET STATISTICS 5"),
        ("DO 'BEGIN END'", "DO 'BEGIN DROP TABLE t; END'"),
        ("CREATE ROLE a PASSWORD 'x'", "CREATE ROLE a PASSWORD 'y'"),
        ("COPY t TO 'a'", "COPY t TO 'b'"),
        ("SELECT 1; SELECT 'open", "SELECT 1; SELECT 'other"),
    ],
)
def test_where_a_value_could_matter_each_text_is_parsed(told, first, second):
    assert not told(first, second)


def test_a_condition_that_becomes_true_for_every_row_is_seen_behind_a_thousand_harmless_ones():
    with ParserClient() as client:
        for number in range(2, 1_002):
            assert "trivial_where" not in one(client, f"DELETE FROM t WHERE 1 = {number}").flags
        assert one(client, "DELETE FROM t WHERE 1 = 1").flags == ("trivial_where",)
        assert one(client, "DELETE FROM t WHERE 1 = 2").flags == ()


def test_one_batch_of_like_texts_costs_one_parse():
    texts = [b"SELECT a FROM t WHERE id = %d" % number for number in range(1_000)]
    with ParserClient() as client:
        shapes = client.shapes(texts, [len(text) for text in texts])
        assert len({shape.digest for shape in shapes}) == 1_000
        assert (client.counters.parsed, client.counters.templated) == (1, 999)


def test_what_the_guard_may_know_at_once_includes_texts_like_others():
    with ParserClient() as client:
        assert client.known(b"DELETE FROM t WHERE id = 5", 26) is None
        one(client, "DELETE FROM t WHERE id = 4")
        known = client.known(b"DELETE FROM t WHERE id = 5", 26)
        assert known is not None
        assert known.status is ParseStatus.PARSED
        assert client.known(b"DELETE FROM t WHERE id = 5", 27).status is ParseStatus.CUT


def test_more_comments_than_the_parser_is_given_fail_also_inside_a_string():
    with ParserClient() as client:
        one(client, "SELECT 'a'")
        assert one(client, "SELECT '" + "/*" * 501 + "'").status is ParseStatus.FAILED


def test_a_value_counts_only_at_the_place_where_it_decided():
    """Also when what decides was forgotten and learned anew from a text with other questions."""
    templates = Templates(max_skeletons=4)
    whole, part = (
        Shape(ParseStatus.PARSED, "", "DELETE FROM t WHERE ? AND ?", flags=flags)
        for flags in (("trivial_where",), ())
    )
    first, second, third = (
        b"DELETE FROM t WHERE %d AND %d" % pair for pair in ((7, 8), (5, 6), (9, 7))
    )
    templates.learn(skeleton_of(first), first, whole, (0,))
    for number in range(10):
        text = b"SELECT a%d, 5" % number
        templates.learn(skeleton_of(text), text, part, ())
    assert templates.shape(skeleton_of(first), first) is None
    templates.learn(skeleton_of(second), second, part, (1,))
    assert templates.shape(skeleton_of(third), third) is None


def test_a_shape_from_a_template_has_its_form_and_not_its_digest():
    templates, text, other = Templates(), b"SELECT 'a'", b"SELECT 'b'"
    learned = Shape(ParseStatus.PARSED, "d", "SELECT ?", verbs=("select",))
    templates.learn(skeleton_of(text), text, learned, ())
    told = templates.shape(skeleton_of(other), other)
    assert (told.form, told.judged) == (learned.form, learned.judged)
    assert told.digest != learned.digest
    changed = replace(told, flags=("limit",), redacted_text="SELECT ? LIMIT 1")
    assert changed.form != learned.form
    assert changed.judged != learned.judged
    redacted = replace(told, redacted_text="SELECT 1")
    assert redacted.form != learned.form
    assert redacted.judged == learned.judged


def test_templates_are_bounded():
    templates = Templates(max_skeletons=100, max_bytes=100_000)
    shape = Shape(ParseStatus.PARSED, "", "SELECT ?", verbs=("select",), statements=1)
    for number in range(1_000):
        text = b"SELECT a%d, 'x', 5" % number
        templates.learn(skeleton_of(text), text, shape, (number % 2,) if number % 3 else ())
    assert len(templates) <= 100
    assert templates.size_bytes <= 100_000
    for number in range(100):
        text = b"SELECT '%s%d'" % (b"x" * 10_000, number)
        templates.learn(skeleton_of(text), text, shape, (0,))
        assert templates.size_bytes <= 100_000
        assert templates.shape(skeleton_of(text), text) is not None
    assert templates.shape(skeleton_of(b"SELECT a999, 'y', 7"), b"SELECT a999, 'y', 7") is not None


HOSTILE = {
    "quotes": ("", "'", ""), "odd quotes": ("", "'", "'"), "quoted spaces": ("", " '", ""),
    "pairs, open": ("' ", "''", ""), "triples": ("", " '''", ""), "comments, open": ("", "/*", ""),
    "comments": ("", "/**/", ""), "nested": ("", "/*", "*/" * 500), "slashes": ("", "/", ""),
    "comment of slashes": ("/*", "/", ""), "stars": ("/*", "*", ""), "dashes": ("", "-", ""),
    "lines": ("", "--\n", ""), "double quotes": ("", '"', '"'), "names": ("", '""', '"'),
    "names and quotes": ("", "\"'", ""), "digits": ("", "9", ""), "numbers": ("", " 9", ""),
    "points": ("", "1.", ""), "decimals": ("", "1.1 ", ""), "zeros": ("", "0", "."),
    "dollars": ("", "$1", ""), "long words": ("", "1" * 30 + "a ", ""), "minus": ("", "-1", ""),
    "quotes in a name": ('"', "''", ""), "letters": ("", "é'", ""), "NUL": ("", "'\0", ""),
    "backslashes": ("", "'\\", ""), "names in a row": ("", '"a",', "'"),
    "a quote behind each": ("", '"a"\'', ""),
}  # fmt: skip
"""What a text begins with, what it consists of and how it ends."""


@pytest.mark.parametrize("name", HOSTILE)
def test_taking_out_literals_takes_linear_time_whatever_the_text(name, monkeypatch):
    """Four times the text takes about four times as long; quadratic would be sixteen."""
    monkeypatch.setattr("agent.sql.skeleton.MAX_BYTES", 1 << 30)
    start, middle, end = HOSTILE[name]
    less, more = (_cpu_seconds(f"{start}{middle * n}{end}".encode()) for n in (10_000, 40_000))
    assert more < 0.01 or more < 10 * less
    assert more < 1


def _cpu_seconds(text: bytes) -> float:
    times = []
    for _ in range(3):
        started = time.process_time()
        skeleton_of(text)
        list(literals_in(text))
        times.append(time.process_time() - started)
    return min(times)
