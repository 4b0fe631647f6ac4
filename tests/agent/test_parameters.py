"""What leaves the host of bound values: nothing, hashes, or they; of credentials never any."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.parameters import KEY_BYTES, KeyFileError, installation_key, printer
from agent.probes.layout import PARAMETER, PARAMETER_BYTES, ParameterState
from agent.probes.types import TYPE_NAMES
from agent.sources.parameters import COUNT, bound, shown
from config.schema import Parameters
from model.statement import ParseStatus, Shape

INT4, INT8, TEXT, OWN = 23, 20, 25, 16_500
QUERY = b"SELECT * FROM orders WHERE id = $1 AND note = $2"
SHAPE = Shape(ParseStatus.PARSED, "", "")


def one(number, data=b"", full=None, state=ParameterState.VALUE):
    full = len(data) if full is None else full
    return PARAMETER.pack(number, full, state, len(data), 0, data.ljust(PARAMETER_BYTES, b"#"))


def captured(*parameters, count=None):
    return COUNT.pack(len(parameters) if count is None else count, 0) + b"".join(parameters)


def int4(number):
    return one(INT4, number.to_bytes(8, "little", signed=True))


VALUES = captured(int4(-7), one(TEXT, b"canary"), one(TEXT, state=ParameterState.NULL))


def told(how, tmp_path, values=VALUES, text=QUERY, text_bytes=None, shape=SHAPE):
    show = printer(how, tmp_path / "parameters.key")
    said = show(values, text, len(text) if text_bytes is None else text_bytes, shape)
    return json.loads(said) if said else said


def test_nothing_is_said_by_default(tmp_path):
    assert told(Parameters.NONE, tmp_path) == ""
    assert not list(tmp_path.iterdir())


def test_full_shows_type_and_value(tmp_path):
    assert told(Parameters.FULL, tmp_path) == [
        {"type": "int4", "value": "-7"},
        {"type": "text", "value": "canary"},
        {"type": "text", "value": None},
    ]


def test_hashed_shows_the_type_and_128_bits_that_are_equal_for_equal_values(tmp_path):
    first = told(Parameters.HASHED, tmp_path)
    assert [sorted(each) for each in first] == [["hash", "type"]] * 2 + [["type", "value"]]
    assert all(re.fullmatch("[0-9a-f]{32}", each["hash"]) for each in first[:2])
    assert "canary" not in str(first)
    other = told(Parameters.HASHED, tmp_path, captured(one(TEXT, b"other"), one(TEXT, b"canary")))
    assert other[1]["hash"] == first[1]["hash"] != other[0]["hash"]


def test_another_installation_has_other_hashes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert told(Parameters.HASHED, tmp_path / "a") != told(Parameters.HASHED, tmp_path / "b")


def test_hashes_of_values_with_one_beginning_differ_by_length(tmp_path):
    values = captured(*(one(TEXT, b"x" * PARAMETER_BYTES, full) for full in (500, 600)))
    short, long = told(Parameters.HASHED, tmp_path, values)
    assert short["hash"] != long["hash"]
    assert (short["bytes"], long["bytes"]) == (500, 600)


def test_what_was_not_read_says_why(tmp_path):
    values = captured(
        one(OWN, state=ParameterState.UNKNOWN),
        one(TEXT, state=ParameterState.COMPRESSED),
        one(TEXT, b"x" * PARAMETER_BYTES, 5000),
        count=40,
    )
    assert told(Parameters.FULL, tmp_path, values) == [
        {"type": "type 16500", "unread": "unknown"},
        {"type": "text", "unread": "compressed"},
        {"type": "text", "value": "x" * PARAMETER_BYTES, "bytes": 5000},
        {"more": 37},
    ]


@pytest.mark.parametrize("how", [Parameters.FULL, Parameters.HASHED])
@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO users (name, password) VALUES ($1, $2)",
        b"SELECT 1 FROM users WHERE pw_hash = crypt($1, pw_hash)",
        b"SELECT set_config($1, $2, false)",
        b"UPDATE accounts SET PassWD = $1",
        b"SELECT pgp_sym_decrypt(card, $1) FROM cards",
        b"INSERT INTO api_tokens VALUES ($1)",
        b'SELECT U&"p\\0061ssw" FROM t WHERE a = $1',
        b"SELECT dblink_connect($1)",
        b"INSERT INTO users VALUES ($1, $2)",
        b'INSERT INTO shop."users" AS u VALUES ($1, $2)',
        b"INSERT INTO users (SELECT $1, $2)",
        b"WITH a AS (INSERT INTO t (id) VALUES ($1)) INSERT INTO users VALUES (1, $2)",
        b"MERGE INTO users USING s ON id = s.id WHEN NOT MATCHED THEN INSERT VALUES ($1, $2)",
    ],
)
def test_values_of_a_statement_about_credentials_are_withheld(tmp_path, how, text):
    said = told(how, tmp_path, text=text)
    assert said[:2] == [{"type": "int4", "withheld": True}, {"type": "text", "withheld": True}]


@pytest.mark.parametrize(
    "text",
    [
        b'INSERT INTO shop."users" AS u (id, name) VALUES ($1, $2)',
        b"insert into users(id, name) select $1, $2",
        b"MERGE INTO users USING s ON id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES ($1)",
    ],
)
def test_values_for_columns_with_harmless_names_are_shown(tmp_path, text):
    assert "value" in told(Parameters.FULL, tmp_path, text=text)[0]


def test_values_of_a_text_that_was_cut_are_withheld(tmp_path):
    """The word may stand behind the cut."""
    assert told(Parameters.FULL, tmp_path, text_bytes=len(QUERY) + 1)[0]["withheld"]


def test_the_parser_may_know_of_a_password_as_well(tmp_path):
    shape = Shape(ParseStatus.PARSED, "", "", flags=("password",))
    assert told(Parameters.FULL, tmp_path, shape=shape)[0]["withheld"]


def test_the_key_is_made_once_for_its_owner_alone(tmp_path):
    key_file = tmp_path / "parameters.key"
    key = installation_key(key_file)
    assert len(key) == KEY_BYTES
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert installation_key(key_file) == key
    assert [file.name for file in tmp_path.iterdir()] == ["parameters.key"]


def test_a_key_that_others_may_read_or_that_is_damaged_is_refused(tmp_path):
    key_file = tmp_path / "parameters.key"
    installation_key(key_file)
    key_file.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        installation_key(key_file)
    key_file.chmod(0o600)
    os.truncate(key_file, 5)
    with pytest.raises(KeyFileError, match="damaged"):
        installation_key(key_file)


def test_a_key_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "other").write_bytes(bytes(KEY_BYTES))
    (tmp_path / "parameters.key").symlink_to(tmp_path / "other")
    with pytest.raises(KeyFileError):
        installation_key(tmp_path / "parameters.key")


@given(
    st.sampled_from([*TYPE_NAMES, 0, OWN]), st.binary(max_size=PARAMETER_BYTES), st.integers(0, 200)
)
def test_any_bytes_of_any_type_are_shown(number, data, missing):
    (value,) = bound(captured(one(number, data, len(data) + missing)))
    assert isinstance(shown(value), str)


def test_a_number_of_a_hundred_thousand_digits_is_not_written_out():
    """1e100000 takes ten bytes."""
    data = (0).to_bytes(2, "little") + (25_000).to_bytes(2, "little") + (1).to_bytes(2, "little")
    (value,) = bound(captured(one(1700, data)))
    assert shown(value) == "\\x" + data.hex()


def test_a_cut_goes_through_no_character():
    data = ("é" * 100).encode()[: PARAMETER_BYTES - 1]
    (value,) = bound(captured(one(TEXT, data, 200)))
    assert shown(value) == "é" * 57


def test_text_in_another_encoding_is_shown_whole():
    (value,) = bound(captured(one(TEXT, b"caf\xe9")))
    assert shown(value) == "caf\\xe9"


@pytest.mark.parametrize(
    "kind", [name for name in TYPE_NAMES.values() if name[-2:] == "[]"] + ["jsonb"]
)
@given(
    data=st.binary(max_size=PARAMETER_BYTES)
    | st.binary(min_size=12, max_size=40).map(
        lambda rest: (2).to_bytes(4, "little") + bytes(4) + (23).to_bytes(4, "little") + rest
    )
)
def test_what_is_no_array_and_no_jsonb_is_shown_as_bytes(kind, data):
    (number,) = (number for number, name in TYPE_NAMES.items() if name == kind)
    (value,) = bound(captured(one(number, data)))
    assert isinstance(shown(value), str)
