"""sqlcommenter comments: read whole or not at all, whatever a client sends."""

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identity.comments import (
    MAX_COMMENT_BYTES,
    MAX_TAGS,
    MAX_VALUE,
    comment_of,
    comments,
    trace_parent,
)

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (b"SELECT 1 /*application='shop'*/", {"application": "shop"}),
        (b"SELECT 1/*b='2',a='1'*/", {"a": "1", "b": "2"}),
        (b"SELECT 1 /* a='1' , b = '2' */ ; \n", {"a": "1", "b": "2"}),
        (b"SELECT 1 /*route='%2Fpolls%201'*/", {"route": "/polls 1"}),
        (b"SELECT 1 /*name='it\\'s'*/", {"name": "it's"}),
        (b"SELECT 1 /*na%20me='DROP%20TABLE'*/", {"na me": "DROP TABLE"}),
        (b"SELECT 1 /*a='x,b=y'*/", {"a": "x,b=y"}),
        (b"SELECT /*a='1'*/ 1 /*b='2'*/", {"b": "2"}),
        (b"SELECT 1 /*a=''*/", {"a": ""}),
        (b"SELECT 1 /*a='first',a='second'*/", {"a": "first"}),
    ],
)
def test_tags_are_read_in_any_order_and_decoded(text, tags):
    assert dict(comments(text)) == tags


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"*/",
        b"/*/",
        b"SELECT 1",
        b"SELECT 1 /**/",
        b"SELECT 1 /* a remark */",
        b"SELECT 1 /*a='1'*/ -- more",
        b"SELECT 1 /*a='1'*/ + 1",
        b"SELECT 1 /*a='1*/",
        b"SELECT 1 /*a=1*/",
        b"SELECT 1 /*a='1',*/",
        b"SELECT 1 /*a='1' b='2'*/",
        b"SELECT 1 /*='1'*/",
        b"SELECT 1 /*a='1\\'*/",
        b"SELECT 1 /* /*a='1'*/ */",
        b"SELECT 1 /*a='\xff'*/",
        b"SELECT 1 /*a='%0aforged line'*/",
        b"SELECT 1 /*a='%1b[31m'*/",
        b"SELECT 1 /*a='%ed%a0%80'*/ x",
    ],
)
def test_what_is_not_wholly_a_comment_of_tags_has_none(text):
    assert dict(comments(text)) == {}


def test_the_size_is_bounded():
    def tagged(body):
        return dict(comments(b"SELECT 1 /*" + body + b"*/"))

    assert len(tagged(b",".join(b"k%d='v'" % n for n in range(MAX_TAGS)))) == MAX_TAGS
    assert tagged(b",".join(b"k%d='v'" % n for n in range(MAX_TAGS + 1))) == {}
    assert tagged(b"a='" + b"x" * MAX_VALUE + b"'")
    assert tagged(b"a='" + b"x" * (MAX_VALUE + 1) + b"'") == {}
    assert comment_of(b"/*" + b"x" * MAX_COMMENT_BYTES + b"*/") == b""


@pytest.mark.parametrize(
    "text",
    [
        b"/*" * 500_000 + b"*/",
        b" " * 1_000_000,
        b"*/" * 500_000,
        b"/*" + b"a='" + b"\\'" * 2_000 + b"*/",
        b"/*" + b"a" * 4_000 + b"*/",
        b"/*" + b" " * 4_000 + b"*/",
        b"/*" + b"a=''," * 800 + b"*/",
    ],
)
def test_hostile_text_takes_no_time(text):
    comments(text)
    began = time.perf_counter()
    for _ in range(10):
        comments(text)
    assert time.perf_counter() - began < 0.1


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_bytes_are_survived(head, tail):
    tags = comments(head + b"/*" + tail + b"*/")
    assert all(isinstance(value, str) for pair in tags.items() for value in pair)


KEYS = st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=20)


@given(st.dictionaries(KEYS, st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30)))
def test_what_a_library_writes_comes_back(tags):
    body = ",".join(f"{quote(k)}='{quote(v, safe='')}'" for k, v in sorted(tags.items()))
    kept = dict(comments(f"SELECT 1 /*{body}*/".encode()))
    assert kept == (tags if 0 < len(tags) <= MAX_TAGS else {})


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (TRACE, TRACE),
        ("", ""),
        (TRACE.upper(), ""),
        (TRACE[:-1], ""),
        (TRACE + "-more", ""),
        (TRACE + "\n", ""),
        ("01" + TRACE[2:] + "-more", "01" + TRACE[2:]),
        ("01" + TRACE[2:] + "more", ""),
        ("ff" + TRACE[2:], ""),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", ""),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", ""),
    ],
)
def test_a_trace_parent_is_kept_only_in_its_w3c_form(value, kept):
    assert trace_parent({"traceparent": value}) == kept
