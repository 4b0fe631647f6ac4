"""Other ways to write one statement, which mean the same."""

from __future__ import annotations

import re

import pglast.parser
from hypothesis import strategies as st

from agent.sql.redact import Token

QUERIES = ("SELECT", "INSERT", "UPDATE", "DELETE_P", "MERGE", "WITH", "TABLE", "VALUES")
PLAIN_STRING = re.compile("'[A-Za-z0-9 _.,;/-]+'")
KEYWORDS_BY_CASE = (str.upper, str.lower, str.title, str.swapcase)
GAPS = (
    " ",
    "\n",
    "\t",
    "\r\n",
    "\f",
    " /* x */ ",
    "/**/",
    " -- x\n",
    "/* a /* b */ c */",
    " \n\n ",
)
NEIGHBOURS = (
    "CREATE TABLE attack.beside (id int)",
    "CREATE INDEX ON attack.bait (id)",
    "COMMENT ON TABLE attack.bait IS 'x'",
    "ALTER TABLE attack.bait ADD beside int",
    "DROP INDEX IF EXISTS attack.beside",
    "DROP ROLE IF EXISTS nobody",
    "CREATE ROLE beside",
    "ALTER ROLE beside CONNECTION LIMIT 5",
    "GRANT SELECT ON attack.bait TO etl",
    "REVOKE SELECT ON attack.bait FROM etl",
    "GRANT analyst TO etl",
    "INSERT INTO attack.bait VALUES (1)",
    "DELETE FROM attack.bait WHERE id = -1",
    "TRUNCATE pg_temp.beside",
    "SET lock_timeout = '1s'",
)
"""DDL of other objects, roles and grants, and writes of other tables: beside what is forbidden they
hide nothing, and make nothing forbidden of what is not."""
BEFORE = ("", "SELECT 1; ", ";;", "/* SELECT */ ", "-- ok\n", "SELECT ';'; ", "BEGIN; ")
AFTER = ("", ";", "; SELECT 2", " -- done", " /* ; */", ";;  ", "; COMMIT")


def tokens_of(text: str) -> list[Token]:
    return [
        token
        for token in pglast.parser.scan(text)
        if token.name not in ("C_COMMENT", "SQL_COMMENT")
    ]


@st.composite
def spaced(draw: st.DrawFn, text: str) -> str:
    """Other white space, comments, case and quotes; every token stays what it is."""
    tokens = tokens_of(text)
    out = ""
    for index, token in enumerate(tokens):
        word = text[token.start : token.end + 1]
        if index:
            touched = tokens[index - 1].end + 1 == token.start
            out += "" if touched else draw(st.sampled_from(GAPS))
        out += draw(_written(word, token))
    return out


@st.composite
def _written(draw: st.DrawFn, word: str, token: Token) -> str:
    if token.name == "IDENT" and word.isalnum() and word.islower() and word.isascii():
        plain = f'"{word}"'
        escaped = f'U&"\\{ord(word[0]):04x}{word[1:]}"'
        return draw(st.sampled_from((word, word.upper(), plain, escaped)))
    if token.name == "SCONST" and PLAIN_STRING.fullmatch(word):
        return draw(st.sampled_from(_strings(word[1:-1])))
    if token.kind != "NO_KEYWORD" and word.isascii():
        return draw(st.sampled_from(KEYWORDS_BY_CASE))(word)
    return word


def _strings(text: str) -> tuple[str, ...]:
    """Every way to write this constant."""
    half = len(text) // 2
    return (
        f"'{text}'",
        f"E'{text}'",
        "E'{}'".format("".join(f"\\x{ord(letter):02x}" for letter in text)),
        "U&'{}'".format("".join(f"\\{ord(letter):04x}" for letter in text)),
        f"$q${text}$q$",
        f"'{text[:half]}' -- x\n '{text[half:]}'",
    )


@st.composite
def beside(draw: st.DrawFn, text: str) -> str:
    """The statement in a string with a harmless one, before it or behind it, or with several."""
    before = draw(st.lists(st.sampled_from(NEIGHBOURS), max_size=2))
    behind = draw(st.lists(st.sampled_from(NEIGHBOURS), min_size=not before, max_size=2))
    return "; ".join((*before, text, *behind))


@st.composite
def wrapped(draw: st.DrawFn, text: str) -> str:
    """The statement beside harmless ones, or within what runs it."""
    beside = draw(st.sampled_from(BEFORE)) + text + draw(st.sampled_from(AFTER))
    if "$w$" in text:
        return beside
    quoted = text.replace("'", "''")
    ways = [
        beside,
        f"DO $w$ BEGIN {text}; END $w$",
        f"DO $w$ BEGIN IF true THEN {text}; END IF; END $w$",
        f"DO $w$ BEGIN FOR i IN 1..2 LOOP {text}; END LOOP; END $w$",
        f"DO $w$ BEGIN {text}; EXCEPTION WHEN others THEN NULL; END $w$",
        f"DO LANGUAGE plpgsql $w$ <<top>> BEGIN BEGIN {text}; END; END top $w$",
        f"DO $w$ BEGIN EXECUTE '{quoted}'; END $w$",
    ]
    return draw(st.sampled_from((*ways, *_around_query(text))))


def _around_query(text: str) -> tuple[str, ...]:
    """What takes a query; one that changes rows must return some to be read from."""
    names = [token.name for token in tokens_of(text)]
    if names[0] not in QUERIES:
        return ()
    out = [
        f"EXPLAIN ANALYZE {text}",
        f"EXPLAIN (COSTS off, ANALYZE, FORMAT json) {text}",
        f"PREPARE p AS {text}",
        f"PREPARE p AS {text}; EXECUTE p",
    ]
    if "MERGE" in names or ("INTO" in names and names[0] == "SELECT"):
        return tuple(out)
    changes = names[0] in ("INSERT", "UPDATE", "DELETE_P")
    inner = text + " RETURNING 1" * (changes and "RETURNING" not in names)
    if names[0] != "WITH":
        out.append(f"WITH w AS ({inner}) SELECT * FROM w")
        out.append(f"WITH a AS (SELECT 1), w AS MATERIALIZED ({inner}) TABLE w")
        out.append(f"COPY ({inner}) TO STDOUT")
    if names[0] == "SELECT":
        out.append(f"DECLARE w CURSOR WITH HOLD FOR {text}")
        out.append(f"CREATE TEMP TABLE w AS {text}")
    return tuple(out)
