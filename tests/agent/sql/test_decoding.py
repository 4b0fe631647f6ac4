"""What a server of another encoding than UTF-8 sends is read so that names stay apart."""

from hypothesis import given
from hypothesis import strategies as st

from agent.sql.decoding import decoded

BYTES = st.lists(
    st.sampled_from(
        [b"a", b"\xe9", b"\xff", b"\xdc", b"\xf0\x9f\x98\x80", b"\xc3\xa9", b"\xed\xb3"]
    )
    | st.binary(max_size=4)
).map(b"".join)
LETTERS = {0xDC00 + byte: chr(byte) for byte in range(0x80, 0x100)}


def test_names_of_a_latin1_database_are_read_as_they_were_written():
    text = 'SELECT "prix élevé" FROM "café"'
    assert decoded(text.encode("latin-1")) == text
    assert decoded(text.encode()) == text


def test_names_that_differ_in_a_byte_stay_two_names():
    names = {decoded(b"caf" + bytes([byte])) for byte in range(0x80, 0x100)}
    assert len(names) == 128


def test_a_byte_that_is_no_utf8_changes_nothing_about_those_that_are():
    """Or a comment would hide a name from the rules."""
    text = 'DROP TABLE "größe" -- '.encode()
    assert decoded(text + b"\xff") == text.decode() + "ÿ"


@given(BYTES)
def test_every_byte_is_a_letter_of_its_own_unless_it_is_part_of_one(data):
    assert decoded(data) == data.decode("utf-8", "surrogateescape").translate(LETTERS)


@given(BYTES)
def test_what_is_ascii_stays_in_its_place(data):
    told = [letter for letter in decoded(data) if letter.isascii()]
    assert "".join(told).encode() == bytes(byte for byte in data if byte < 0x80)
