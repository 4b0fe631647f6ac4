"""Bytes near those of a corpus: what a fuzzer tries, as a strategy of Hypothesis."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"
MOST_BYTES = 20_000
TOKENS = (
    b"\0", b"\xff", b"\n", b"\r", b"\x1b[2J", b"'", b'"', b"\\", b"$$", b"--", b"/*", b"*/", b",",
    b"}", b"{", b"[", b"]", b":", b"- ", b"&a ", b"*a", b"!!python/object:x", b"1e999", b"-1",
    b"18446744073709551616", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"AUDIT: ", b"null", b"true",
    b"\x80\x80\x80\x80\x10", b"ERROR", b"FATAL:  ", b"U&'", b"E'", b"Infinity",
)  # fmt: skip

Edit = tuple[str, float, float, bytes]
_edits = st.lists(
    st.tuples(
        st.sampled_from(("put", "over", "cut", "flip", "twice", "end")),
        st.floats(0, 1),
        st.floats(0, 1),
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8)),
    ),
    max_size=6,
)


def near(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A seed with some edits, two seeds together, or anything at all."""
    seeds = st.sampled_from(list(corpus))
    return st.one_of(
        st.builds(edited, seeds, _edits),
        st.builds(lambda a, b, edits: edited(a + b, edits), seeds, seeds, _edits),
        st.binary(max_size=300),
    )


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    for kind, at, length, put in edits:
        place = int(at * len(data))
        end = place + int(length * length * (len(data) - place))
        if kind == "put":
            data = data[:place] + put + data[place:]
        elif kind == "over":
            data = data[:place] + put + data[place + len(put) :]
        elif kind == "cut":
            data = data[:place] + data[end:]
        elif kind == "flip" and data:
            place = min(place, len(data) - 1)
            flipped = data[place] ^ (1 << int(length * 7.99))
            data = data[:place] + bytes([flipped]) + data[place + 1 :]
        elif kind == "twice":
            data = data[:end] + data[place:]
        elif kind == "end":
            data = data[:place]
    return data[:MOST_BYTES]


def seeds(target: str) -> list[bytes]:
    files = sorted((CORPUS / target).iterdir())
    return [file.read_bytes() for file in files]
