"""No literal leaves the host: not in the redacted text, not in any other field."""

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sql.client import ParserClient
from agent.sql.redact import redact_unscanned
from model.statement import ParseStatus, Shape

SECRET = "s3cr3tCanary"
FORMS = Path(__file__).parent / "forms"
"""One statement a line, ``@secret@`` wherever a literal can stand; three spaces continue a line."""


def lines(name: str) -> list[str]:
    return (FORMS / name).read_text().strip().replace("\n   ", "\x1f").splitlines()


VALID, BROKEN = lines("valid.sql"), lines("broken.sql")


def written(line: str, secret: str = SECRET) -> bytes:
    return line.replace("\x1f", "\n   ").replace("@secret@", secret).encode()


def statements() -> list[tuple[str, bytes]]:
    """Every form in its own words, in lower case, behind a comment, and damaged."""
    forms = [(line, written(line)) for line in (*VALID, *BROKEN)]
    variants = list(forms)
    variants += [(f"padded {n}", b"/* hi */\n\t" + t + b" ") for n, t in forms]
    variants += [(f"not utf-8: {n}", t + b" -- \xff\xfe") for n, t in forms]
    variants += [(f"nul: {n}", t + b"\0") for n, t in forms]
    variants += [(f"open quote: {n}", t + b" '") for n, t in forms]
    variants += [(f"too long: {n}", t + b" " * 70_000) for n, t in forms]
    return variants


STATEMENTS = statements()


def leaks(shape: Shape, secret: str = SECRET) -> list[str]:
    found = []
    for field in dataclasses.fields(shape):
        if field.name != "digest" and secret.lower() in str(getattr(shape, field.name)).lower():
            found.append(f"{field.name}: {getattr(shape, field.name)}")
    return found


def test_there_are_at_least_two_hundred_ways_to_write_a_secret():
    assert len(STATEMENTS) >= 200


def test_the_valid_forms_are_valid(parser: ParserClient):
    shapes = parser.shapes([written(line) for line in VALID], [len(written(x)) for x in VALID])
    refused = [
        line
        for line, shape in zip(VALID, shapes, strict=True)
        if shape.status is not ParseStatus.PARSED
    ]
    assert refused == []


def test_no_secret_survives_in_any_field_of_any_form(parser: ParserClient):
    shapes = parser.shapes([text for _, text in STATEMENTS], [len(text) for _, text in STATEMENTS])
    leaked = {
        name: leaks(shape)
        for (name, _), shape in zip(STATEMENTS, shapes, strict=True)
        if leaks(shape)
    }
    assert leaked == {}


def test_no_secret_survives_where_the_capture_cut_the_text(parser: ParserClient):
    for name, text in STATEMENTS[:150]:
        for end in range(len(text)):
            (shape,) = parser.shapes([text[:end]], [len(text)])
            assert shape.status is ParseStatus.CUT
            assert leaks(shape) == [], name


def test_no_secret_survives_where_the_text_ends_early(parser: ParserClient):
    """A prefix that parses or not by itself."""
    whole = [text for name, text in STATEMENTS[:150] if '"@secret@"' not in name]
    prefixes = [text[:end] for text in whole for end in range(4, len(text), 3)]
    shapes = parser.shapes(prefixes, [len(text) for text in prefixes])
    leaked = [(p, leaks(s)) for p, s in zip(prefixes, shapes, strict=True) if leaks(s)]
    assert leaked == []


@pytest.mark.parametrize(
    "line",
    [line for line in VALID if re.match("(CREATE|ALTER) (ROLE|USER)|SET|ALTER SYSTEM", line)],
)
def test_statements_with_credentials_have_no_fingerprint(shape_of, line):
    shape = shape_of(written(line))
    assert shape.status is ParseStatus.PARSED
    assert shape.fingerprint == ""


def test_a_fingerprint_does_not_depend_on_any_literal(parser: ParserClient):
    texts = [[written(line, secret) for line in VALID] for secret in (SECRET, "an0therOne")]
    one, other = (parser.shapes(t, [len(x) for x in t]) for t in texts)
    differing = [
        line
        for line, a, b in zip(VALID, one, other, strict=True)
        if a.fingerprint != b.fingerprint and '"@secret@"' not in line
    ]
    assert differing == []


def test_numbers_and_bit_strings_are_literals_too(shape_of):
    shape = shape_of("SELECT 4111111111111111, 0x5EC, 1e7, .5, B'101', X'5ec', -42, $1 FROM t2024")
    assert shape.redacted_text == "SELECT ?, ?, ?, ?, ?, ?, -?, $1 FROM t2024"


def test_a_value_in_double_quotes_is_hidden_unless_it_looks_like_a_name(shape_of):
    shape = shape_of('SELECT * FROM t WHERE mail = "bob@example.com" AND "Full Name" = "p!w"')
    assert shape.redacted_text == 'SELECT * FROM t WHERE mail = "?" AND "Full Name" = "?"'
    assert shape.columns == ("*", "mail", "?", "Full Name")


def test_names_stay_where_the_text_cannot_be_scanned():
    assert redact_unscanned('INSERT INTO "shop"."orders" (a) VALUES (\'x') == (
        'INSERT INTO "shop"."orders" (a) VALUES ( ...'
    )
    assert redact_unscanned("SELECT a FROM orders_2024 WHERE b = 15") == (
        "SELECT a FROM orders_2024 WHERE b = ?"
    )


TEMPLATES = (
    "SELECT '{}'", "SELECT $q${}$q$", "UPDATE t SET a = '{}' WHERE b = '{}'", "SELECT /* {} */ 1",
    "ALTER ROLE bob PASSWORD '{}'", "COMMENT ON TABLE t IS '{}' -- {}", "SELECT E'{}', '{}'",
    "INSERT INTO t VALUES ('{}', '{}'), ('{}')", "DO '{}'", "SET a.b = '{}'",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(TEMPLATES),
    st.text(alphabet=st.sampled_from("ab '\"$\\-/*\n;(é"), max_size=12),
    st.text(alphabet=st.sampled_from("ab '\"$\\-/*\n;(é"), max_size=12),
)
def test_no_literal_survives_whatever_surrounds_it(parser, template, before, after):
    """Noise may end a literal early; what follows is no one's to see, unless it parses as SQL."""
    # With two places, what ends the first literal late turns the second one inside out.
    around = before + after if template.count("{}") > 1 else before
    ends_literal = any(mark in around for mark in ("'", "\\", "*/", "$q$", "\n"))
    # Behind the end of its comment the word is a name like any other, parsed or not.
    is_name = "/*" in template and "*/" in before
    sql = template.replace("{}", before + SECRET + after).encode()
    (shape,) = parser.shapes([sql], [len(sql)])
    if not (is_name or (ends_literal and shape.status is ParseStatus.PARSED)):
        assert leaks(shape) == []


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_bytes_give_a_shape(parser, data, missing):
    (shape,) = parser.shapes([data], [len(data) + missing])
    assert isinstance(shape.status, ParseStatus)
    assert len(shape.digest) == 64
    assert (shape.status is ParseStatus.CUT) == (missing > 0)


def test_the_digest_of_a_beginning_is_that_of_no_whole_text_and_of_no_other_length(parser):
    text = b"SELECT 1 + 1"
    lengths = [len(text), len(text) + 1, len(text) + 2, len(text) + 1]
    whole, *cut, again = [each.digest for each in parser.shapes([text] * 4, lengths)]
    assert len({whole, *cut}) == 3
    assert again == cut[0]
