"""Texts that differ in their literals, and whether the cache tells the truth about them.

``python -m tests.agent.sql.fuzz SEED COUNT [SKELETONS]`` runs as long as one likes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import pglast.parser
import yaml

from agent.sql.cache import ShapeCache
from agent.sql.client import ParserClient
from agent.sql.templates import Templates
from model.statement import Shape

HERE = Path(__file__).parent
PACKS = HERE.parents[2] / "rules" / "packs"
VARIANTS = 24
"""Of one text, before the next one."""

_NUMBERS = (
    "0 1 2 3 5 7 9 00 007 0000000000 0000000001 10 53 54 1999999999 2000000000 2147483647"
    " 2147483648 2999999999 3000000000 9999999999 10000000000 00000000001 18446744073709551616"
    " 1.0 1.5 0.0 .5 1. 1..2 1.2.3 1e5 1e-5 1e 1e400 0x1F 0x 0b101 0o17 1_000 1__0 123abc 5a 1$"
    " 5.e3 -1 --1 +1 -0 $1 5'a' 5\"a\""
)
NUMBERS = tuple(_NUMBERS.split())
STRINGS = (
    "''", "'%'", "'%%'", "' %'", "'_'", "'x'", "'y'", "'true'", "'TRUE '", "'t'", "'off'", "'1'",
    "'0'", "'it''s'", "''''", "''''''", "'a'''", "'--'", "'/*'", "'*/'", "';'", "'; DROP TABLE t'",
    "'\"'", "'$$'", "'$1'", "'a\nb'", "'a'\n'b'", "'a' 'b'", "'a' -- c\n'b'", "'role'",
    "'search_path'", "'a.b'", "'Role'", "'session_authorization'", "'public'", "'none'",
    "'pg_read_file(1)'", "'é'", "'\u2028'", "'\u00a0'", "'\\'", "'\\\\'", "'a\\''", "'\\'''",
    "E'x'", "E'\\''", "e''", "N'x'", "B'101'", "X'1F'", "U&'\\0041'", "U&'d!0061' UESCAPE '!'",
    "$$x$$", "$a$it's$a$", "'open", "x'", "'a'b", "'2024-01-01'", "'1 day'", "'" + "z" * 300 + "'",
)  # fmt: skip
COMMENTS = (
    "/**/", "/*x*/", "/* it's */", '/* " */', "/*/ x */", "/* x /*/", "/***/", "/* a*b */", "/* /",
    "/* a /* b */ c */", "/*/**/*/", "/*traceparent='00-ab12-01'*/", "/*$$*/", "-- x\n", "--\n",
    "/* ; */", "/*\n*/", "/*é*/", "/* -- */", "/*\\*/", "*/", "/", " ",
)  # fmt: skip
RAW = (b"'\xff'", b"'\xe2\x82'", b"'\xe2'", b"/*\xff*/", b"'\0'", b"\0", b"\xff", b"\\")
"""What no text in Python can be."""

SENSITIVE = (
    "SELECT set_config('role', 'bob', false)", "SELECT set_config('a.b', '1', true), 5 FROM t",
    "DELETE FROM t WHERE 1 = 1", "DELETE FROM t WHERE 'a' = 'a'", "DELETE FROM t WHERE a LIKE '%'",
    "UPDATE t SET a = 5 WHERE 1 = 1 AND b = 7", "SELECT * FROM t WHERE 2 > 1 OR a = 3",
    "SELECT * FROM t WHERE 1 IN (2, 3, 1)", "SELECT float(5) '1.5', 3", "SELECT 5::float(24)",
    "SELECT U&'d!0061' UESCAPE '!', 5", "SELECT 'a'\n'b', 5", "SELECT a FROM t LIMIT 5 OFFSET 0",
    "SELECT a FROM t FETCH FIRST 5 ROWS ONLY", "SELECT 'x'::varchar(10), interval '1' day(3)",
    "SELECT -5, - 5, -(5), a - 5, a -5, - - 5, -5.5, +5", "DELETE FROM t WHERE -1 = -1",
    "DELETE FROM t WHERE 0 = 0.0", "DELETE FROM t WHERE 0 AND ''", "DELETE FROM t WHERE NOT 0",
    "DELETE FROM t WHERE a + 1 = a + 1", "DELETE FROM t WHERE (1, 'x') = (1, 'x')",
    "DELETE FROM t WHERE f(1) = f(1)", "DELETE FROM t WHERE (a, 1) = (a, 1)",
    "DELETE FROM t WHERE CASE WHEN a = 1 THEN 2 END = CASE WHEN a = 1 THEN 2 END",
    "DELETE FROM t WHERE a = 1 OR 'x' = 'x'::text", "DELETE FROM t WHERE '1'::int = '1'::int",
    "DELETE FROM t WHERE 1::bool", "DELETE FROM t WHERE 't'::boolean IS TRUE",
    "DELETE FROM t WHERE 1 IS NOT NULL", "DELETE FROM t WHERE a = ANY('{1,2}')",
    "DELETE FROM t WHERE a BETWEEN 1 AND 2", "DELETE FROM t WHERE 1 BETWEEN 0 AND 2",
    "DELETE FROM t WHERE 1 IS NOT DISTINCT FROM 1", "DELETE FROM t WHERE a ILIKE '%%' ESCAPE '!'",
    "MERGE INTO t USING s ON 1 = 1 WHEN MATCHED AND s.a = 5 THEN DELETE",
    "INSERT INTO t VALUES (1, 'a'), (2, 'b') ON CONFLICT (a) DO UPDATE SET b = 'c' WHERE 1 = 1",
    "WITH x AS (DELETE FROM t WHERE 1 = 1 RETURNING 5) SELECT 'x' FROM x",
    "SELECT * FROM (SELECT * FROM t WHERE 1 = 1) x", "SELECT 1; DELETE FROM t WHERE 1 = 2",
    "SELECT lo_export(5, '/tmp/x'), dblink('host=x', 'DROP TABLE t')", "SELECT 't'::regclass",
    "SELECT query_to_xml('DELETE FROM t', true, false, '')", "SELECT a \"b'1\", 5 \"x\" FROM t1",
    "BEGIN /* x */", "COMMIT PREPARED 'x'", "SAVEPOINT a1 /* 5 */", "EXECUTE p(1, 'x')",
    "FETCH 5 FROM c", "ALTER TABLE t ALTER COLUMN 1 SET STATISTICS 5", "SET a.b = 'x'",
    "CREATE ROLE x PASSWORD 'y' VALID UNTIL '2030-01-01'", "DO 'BEGIN DELETE FROM t; END'",
    "COPY t TO '/tmp/x' (FORMAT 'csv')", "EXPLAIN (ANALYZE 1) DELETE FROM t WHERE 1 = 1",
    "CREATE FUNCTION f() RETURNS int LANGUAGE 'sql' AS 'SELECT 5'", "CALL p(5, 'x')",
    "SELECT * FROM t TABLESAMPLE system (10) REPEATABLE (5)", "SELECT a[1:2], b['x'] FROM t",
    "SELECT 1 UNION SELECT 2 ORDER BY 1",
    "SELECT extract('year' FROM a), substring(b, 1, 2) FROM t",
    "SELECT xmlelement(name a, 'x'), xmlpi(name php, 'y')",
    "SELECT json_value('{}', '$.a' DEFAULT 5 ON ERROR)",
    "SELECT * FROM json_table('[]', '$[*]' AS p COLUMNS (a int PATH '$.a' DEFAULT 5 ON EMPTY)) j",
    "SELECT * FROM xmltable('/a' PASSING 'x' COLUMNS b int PATH 'c' DEFAULT 5)",
    "WITH RECURSIVE r AS (SELECT 1) CYCLE a SET b TO 'x' DEFAULT 'y' USING c SELECT 5",
    "SELECT sum(a) OVER (ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) FROM t", "VALUES (1, 'a')",
    "SELECT date '2024-01-01', timestamp(3) '2024-01-01', bit(3) '101', interval(6) '1 day'",
    "SELECT '1' AT TIME ZONE 'UTC', a SIMILAR TO 'x' ESCAPE '!', 5 OPERATOR(pg_catalog.+) 6 FROM t",
)  # fmt: skip

EXPRESSIONS = (
    "@", "@", "@", "a", "b.c", "~ = ~", "~ < ~", "~ <> ~", "~ >= ~", "~ AND ~", "~ OR ~", "NOT ~",
    "(~)", "f(~, ~)", "count(~)", "~ IN (~, ~)", "~ LIKE ~", "~ ILIKE ~", "~ IS NULL", "-~", "- ~",
    "~ IS NOT NULL", "~ IS TRUE", "~ BETWEEN ~ AND ~", "~::text", "~::int", "~::varchar(5)",
    "CASE WHEN ~ THEN ~ ELSE ~ END", "EXISTS (SELECT ~)", "EXISTS (SELECT ~ FROM t)", "ARRAY[~, ~]",
    "(SELECT ~ FROM t WHERE ~)", "~ IS NOT DISTINCT FROM ~", "set_config(@, ~, true)", "(~, ~)",
    "coalesce(~, ~)", "~ || ~", "~ + ~", "true", "NULL", "$1", "~ /*c*/", "row(~)", "interval '1'",
)  # fmt: skip
STATEMENTS = (
    "DELETE FROM t WHERE ~", "UPDATE t SET a = ~ WHERE ~", "SELECT * FROM t WHERE ~", "SELECT ~",
    "SELECT ~ FROM t", "INSERT INTO t VALUES (~, ~)", "SELECT * FROM t WHERE ~ LIMIT ~",
    "WITH x AS (SELECT * FROM t WHERE ~) SELECT * FROM x", "SELECT a FROM t GROUP BY ~ HAVING ~",
    "SELECT * FROM t JOIN u ON ~ WHERE ~", "MERGE INTO t USING s ON ~ WHEN MATCHED THEN DELETE",
    "INSERT INTO t SELECT ~ FROM s WHERE ~", "DELETE FROM t USING s WHERE ~ RETURNING ~",
    "SELECT * FROM t ORDER BY ~ OFFSET ~", "SELECT * FROM f(~) x WHERE ~; DELETE FROM t WHERE ~",
)  # fmt: skip
CONSTANTS = {
    "\x01": ("0", "1", "1", "2", "00", "1999999999"),
    "\x02": ("1.0", "2.5", "0.0", "9999999999", "3000000000"),
    "\x03": ("''", "'%'", "'x'", "'t'", "'role'", "'1'", "'1'", "'it''s'"),
}
"""By the mark that stands for a constant of its kind."""
_PLACE = re.compile("~")
_CONSTANT = re.compile("@")
_MARK = re.compile("[\x01-\x03]")


@cache
def corpus() -> tuple[str, ...]:
    """Every statement that some other test or rule brings, and those whose literals matter."""
    texts = list(SENSITIVE)
    for file in sorted((HERE / "golden").glob("*.yaml")):
        texts += [case["sql"] for case in yaml.load(file.read_text(), Loader=yaml.CSafeLoader)]
    for name in ("valid.sql", "broken.sql"):
        lines = (HERE / "forms" / name).read_text().strip().replace("\n   ", "\x1f").splitlines()
        texts += [line.replace("\x1f", "\n   ").replace("@secret@", "x") for line in lines]
    for file in sorted(PACKS.glob("*.yaml")):
        texts += _examples(yaml.load(file.read_text(), Loader=yaml.CSafeLoader))
    return tuple(texts)


def _examples(value: object) -> Iterator[str]:
    """Whatever stands under ``sql`` or ``statement`` in a rule pack."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("sql", "statement") and isinstance(item, str):
                yield item
            else:
                yield from _examples(item)
    elif isinstance(value, list):
        for item in value:
            yield item if isinstance(item, str) and " " in item else ""
            yield from _examples(item)


def written(random: Random) -> str:
    """A statement whose conditions are made up, with a mark where each constant stands."""
    text = random.choice(STATEMENTS)
    for depth in range(4):
        while "~" in text and len(text) < 2_000:
            pool = EXPRESSIONS if depth < 3 else EXPRESSIONS[:5]
            text = _PLACE.sub(lambda _: random.choice(pool), text, count=1)  # noqa: B023
            if random.random() < 0.3:
                break
    text = text.replace("~", "@")
    return _CONSTANT.sub(lambda _: random.choice(tuple(CONSTANTS)), text)


def filled(random: Random, form: str) -> bytes:
    return _MARK.sub(lambda mark: random.choice(CONSTANTS[mark[0]]), form).encode()


def variant(random: Random, text: str, wild: bool) -> bytes:
    """Some literals and comments of ``text`` replaced; if ``wild`` by anything, anywhere."""
    parts: list[bytes] = []
    at = 0
    for start, end, kind in _tokens(text):
        if random.random() < 0.5:
            continue
        parts.append(text[at:start].encode())
        parts.append(_another(random, kind) if wild else _plain(random, kind))
        at = end
    parts.append(text[at:].encode())
    data = b"".join(parts)
    if wild and random.random() < 0.1:
        place = random.randrange(len(data) + 1)
        odd = random.choice((*RAW, *(c.encode() for c in COMMENTS), b"'", b'"', b"1", b"$$", b"-"))
        data = data[:place] + odd + data[place + random.randrange(2) :]
    if wild and random.random() < 0.15:
        data += b" " + random.choice(COMMENTS).encode()
    return data


def _tokens(text: str) -> list[tuple[int, int, str]]:
    try:
        tokens = pglast.parser.scan(text)
    except pglast.parser.ParseError:
        return [(m.start(), m.end(), "SCONST") for m in re.finditer(r"'[^']*'|\b\d+\b", text)]
    kinds = ("SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST", "C_COMMENT")
    return [(t.start, t.end + 1, t.name) for t in tokens if t.name in kinds]


def _another(random: Random, kind: str) -> bytes:
    if random.random() < 0.02:
        return random.choice(RAW)
    if random.random() < 0.1:
        kind = random.choice(("SCONST", "ICONST", "C_COMMENT"))
    if kind == "C_COMMENT":
        return random.choice(COMMENTS).encode()
    if random.random() < 0.5:
        return _plain(random, kind)
    return random.choice(NUMBERS if kind in ("ICONST", "FCONST") else STRINGS).encode()


def _plain(random: Random, kind: str) -> bytes:
    number = random.randrange(10 ** random.randrange(10))
    plain = {
        "ICONST": (str(number), "0", "1"),
        "FCONST": (f"{number}.5", "0.0", "1.0", f"3{number:09}"),
        "SCONST": ("'a'", "'b%'", "'%'", "''", "'it''s'", "'é'", "'true'", f"'{number}'"),
        "C_COMMENT": ("/**/", "/* it's */", f"/*a='{number}'*/", "/* ; -- */"),
    }
    return random.choice(plain.get(kind, plain["SCONST"])).encode()


@dataclass
class Outcome:
    asked: int = 0
    templated: int = 0
    repeated: int = 0
    wrong: list[tuple[bytes, Shape, Shape]] = field(default_factory=list)


def run(seed: int, count: int, max_skeletons: int = 4_000) -> Outcome:
    """``wrong`` are texts with the cache's answer and that of a parser without any memory.

    With few skeletons much is forgotten and learned again.
    """
    random = Random(seed)
    texts = [text for text in corpus() if text]
    outcome = Outcome()
    nothing = ShapeCache(max_bytes=0, templates=Templates(max_bytes=0))
    some = ShapeCache(max_entries=2 * max_skeletons, templates=Templates(max_skeletons))
    with ParserClient(some) as cached, ParserClient(nothing) as fresh:
        while outcome.asked < count:
            if random.random() < 0.5:
                form = written(random)
                batch = [filled(random, form) for _ in range(VARIANTS)]
            else:
                text, wild = random.choice(texts), random.random() < 0.5
                batch = [text.encode(), *(variant(random, text, wild) for _ in range(VARIANTS))]
            expected = fresh.shapes(batch, [len(data) for data in batch])
            for data, right in zip(batch, expected, strict=True):
                (shape,) = cached.shapes([data], [len(data)])
                if shape != right:
                    outcome.wrong.append((data, shape, right))
            outcome.asked += len(batch)
        outcome.templated = cached.counters.templated
        outcome.repeated = cached.counters.cached
        assert fresh.counters.templated == 0
    return outcome


if __name__ == "__main__":
    result = run(*(int(argument) for argument in sys.argv[1:]))
    print(f"{result.asked} asked, {result.templated} by template, {len(result.wrong)} wrong")
    for data, shape, right in result.wrong[:10]:
        print(data, shape, right, sep="\n  ")
