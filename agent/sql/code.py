"""Bodies of DO blocks and functions: the static SQL within them.

A body is text within a text. LANGUAGE sql is parsed as it stands. PL/pgSQL is cut at its scan
tokens: each fragment that begins like a statement is parsed by itself, so ``DO $$ BEGIN DELETE FROM
orders; END $$`` is known for what it does. A fragment that does not parse alone still yields its
verb. SQL put together at run time (EXECUTE with more than one constant) cannot be known here and is
flagged ``dynamic``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pglast.parser

from agent.sql.facts import Scope
from agent.sql.redact import Token
from agent.sql.tree import Node, constant_text, options, unwrap

if TYPE_CHECKING:
    from agent.sql.classify import Walker

MAX_BODY_DEPTH = 3
"""A DO that EXECUTEs a DO that EXECUTEs a DO: deeper is dynamic."""
MAX_FRAGMENTS = 400

_VERBS = """
    SELECT INSERT UPDATE DELETE_P MERGE WITH TRUNCATE DROP CREATE ALTER GRANT REVOKE COPY CALL SET
    RESET TABLE VALUES LOCK_P REINDEX VACUUM COMMENT DO EXECUTE REASSIGN REFRESH IMPORT_P SECURITY
"""
_STARTERS = frozenset(_VERBS.split())
_SUBQUERY_STARTERS = frozenset({"SELECT", "WITH", "EXECUTE"})
_QUERY_STARTERS = _SUBQUERY_STARTERS | {
    "INSERT", "UPDATE", "DELETE_P", "MERGE", "TABLE", "VALUES"
}  # fmt: skip
"""A loop or a cursor may also go through what INSERT, UPDATE or DELETE returns."""
_BEFORE_STATEMENT = frozenset({"ASCII_59", "BEGIN_P", "THEN", "ELSE"})
_BEFORE_QUERY = frozenset({"IN_P", "FOR", "IS"})
_BEFORE_WORDS = frozenset({"loop", "query", "perform", "begin"})
"""Words of PL/pgSQL that the SQL scanner takes for identifiers."""
_BEFORE_EXPRESSION = frozenset({"COLON_EQUALS", "RETURN", "IF_P", "WHEN", "DEFAULT", "ASCII_61"})
_BEFORE_EXPRESSION_WORDS = frozenset({"elsif", "elseif", "while", "assert", "next", "raise"})
_AFTER_EXPRESSION = frozenset({"ASCII_59", "THEN"})


def routine_bodies(fields: Node, key: str = "options") -> Iterator[tuple[str, str]]:
    """Language and text of each body of a DoStmt or CreateFunctionStmt."""
    given = dict(options(fields, key))
    language = (constant_text(given.get("language")) or "plpgsql").lower()
    kind, body = unwrap(given.get("as"))
    texts = body.get("items", []) if kind == "List" else [given.get("as")]
    for item in texts:
        if text := constant_text(item):
            yield language, text


def enter_body(walker: Walker, language: str, text: str) -> None:
    """Adds what the body does. Never fails: a body that cannot be read is a flag, ``dynamic``."""
    if walker.body_depth >= MAX_BODY_DEPTH or language not in ("sql", "plpgsql"):
        walker.facts.flag("dynamic")
        return
    walker.body_depth += 1
    try:
        if language == "sql":
            _enter_sql(walker, text)
        else:
            _enter_plpgsql(walker, text)
    finally:
        walker.body_depth -= 1


def _enter_sql(walker: Walker, text: str) -> bool:
    try:
        tree = walker.parse(text)
    except ValueError:
        walker.facts.flag("dynamic")
        return False
    for statement in tree.get("stmts", []):
        walker.statement(statement.get("stmt"), Scope())
    return True


def _enter_plpgsql(walker: Walker, text: str) -> None:
    try:
        tokens = scan(text)
    except ValueError:
        walker.facts.flag("dynamic")
        return
    index = fragments = 0
    while index < len(tokens):
        if not _starts_statement(text, tokens, index):
            fragments += _enter_expression(walker, text, tokens, index)
            index += 1
            continue
        fragments += 1
        if fragments > MAX_FRAGMENTS:
            walker.facts.flag("dynamic")
            return
        index = _fragment(walker, text, tokens, index)


def _enter_expression(walker: Walker, text: str, tokens: list[Token], index: int) -> bool:
    """What PL/pgSQL evaluates behind ``:=``, RETURN, IF and the like is a SELECT without the word:
    ``x := secret FROM salaries``. True where there was one. Its own statements are found later."""
    first = tokens[index]
    if first.name not in _BEFORE_EXPRESSION and _word(text, first) not in _BEFORE_EXPRESSION_WORDS:
        return False
    depth = 0
    end = index + 1
    while end < len(tokens):
        name = tokens[end].name
        depth += (name == "ASCII_40") - (name == "ASCII_41")
        if name in _AFTER_EXPRESSION or depth < 0 or _word(text, tokens[end]) == "loop":
            break
        end += 1
    inner = tokens[index + 1 : end]
    if not _calls_or_reads(inner):
        return False
    try:
        tree = walker.parse("SELECT " + text[inner[0].start : inner[-1].end + 1])
    except ValueError:
        return False
    said = walker.facts.words_said
    for statement in tree.get("stmts", []):
        walker.walk(statement.get("stmt"), Scope())
    if any(token.name == "SELECT" for token in inner):
        walker.facts.unsay(said)  # it is met again as a statement, and told then
    return True


def _calls_or_reads(tokens: list[Token]) -> bool:
    """Most expressions are a variable or a constant: those are nobody's business."""
    return any(token.name in ("ASCII_40", "FROM") for token in tokens)


def scan(text: str) -> list[Token]:
    """Tokens without comments; raises ValueError where the scanner refuses the text."""
    try:
        tokens = pglast.parser.scan(text)
    except pglast.parser.ParseError as error:
        raise ValueError("the scanner refuses the text") from error
    return [token for token in tokens if token.name not in ("C_COMMENT", "SQL_COMMENT")]


def _word(text: str, token: Token) -> str:
    return text[token.start : token.end + 1].lower()


def _starts_statement(text: str, tokens: list[Token], index: int) -> bool:
    """A verb at a place where PL/pgSQL begins a statement: after ``;``, BEGIN, THEN, LOOP ..."""
    token = tokens[index]
    if token.name not in _STARTERS and _word(text, token) != "perform":
        return False
    if index == 0:
        return True
    before = tokens[index - 1]
    if before.name == "ASCII_40":
        return token.name in _SUBQUERY_STARTERS
    if before.name in _BEFORE_QUERY:
        return token.name in _QUERY_STARTERS
    return before.name in _BEFORE_STATEMENT or _word(text, before) in _BEFORE_WORDS


def _fragment(walker: Walker, text: str, tokens: list[Token], index: int) -> int:
    """Reads the fragment that begins at ``index``; returns where to go on."""
    nested = index > 0 and tokens[index - 1].name == "ASCII_40"
    end = _fragment_end(text, tokens, index)
    first = tokens[index]
    if first.name == "EXECUTE":
        _execute(walker, text, tokens[index + 1 : end])
        return end
    sql = text[first.start : tokens[end - 1].end + 1]
    if _word(text, first) == "perform":
        sql = "SELECT" + sql[len("perform") :]
    for candidate in (sql, _without_into(text, tokens[index:end])):
        try:
            tree = walker.parse(candidate)
        except ValueError:
            continue
        for statement in tree.get("stmts", []):
            # A subquery's rows stay within the expression around it.
            read = walker.walk if nested else walker.statement
            read(statement.get("stmt"), Scope())
        return end
    walker.facts.verb(
        first.name.removesuffix("_P").lower() if first.name in _STARTERS else "select"
    )
    walker.facts.flag("dynamic")
    return index + 1


def _fragment_end(text: str, tokens: list[Token], index: int) -> int:
    """Up to ``;``, LOOP, or the parenthesis that closes the one before ``index``."""
    depth = 0
    for end in range(index, len(tokens)):
        name = tokens[end].name
        depth += (name == "ASCII_40") - (name == "ASCII_41")
        if name == "ASCII_59" or depth < 0 or _word(text, tokens[end]) == "loop":
            return max(end, index + 1)
    return len(tokens)


def _without_into(text: str, tokens: list[Token]) -> str:
    """``... RETURNING id INTO x`` fills a variable; SQL knows no such INTO."""
    words: list[str] = []
    skip_until = -1
    for index, token in enumerate(tokens):
        if token.name == "INTO" and index > 0 and tokens[index - 1].name not in ("INSERT", "MERGE"):
            skip_until = index + 1
            while skip_until + 1 < len(tokens) and tokens[skip_until + 1].name in (
                "ASCII_44", "ASCII_46"
            ):  # fmt: skip
                skip_until += 2
        if index > skip_until:
            words.append(text[token.start : token.end + 1])
    return " ".join(words)


def _execute(walker: Walker, text: str, rest: list[Token]) -> None:
    """EXECUTE of one constant is static SQL in disguise; anything else is dynamic."""
    walker.facts.verbs.add("execute")
    constant = _only_constant(walker, text, rest)
    if constant is None or walker.body_depth >= MAX_BODY_DEPTH:
        walker.facts.flag("dynamic")
    else:
        walker.body_depth += 1
        try:
            _enter_sql(walker, constant)
        finally:
            walker.body_depth -= 1


def _only_constant(walker: Walker, text: str, rest: list[Token]) -> str | None:
    """The one string that EXECUTE runs, as the parser reads its quotes."""
    end = next((i for i, t in enumerate(rest) if t.name in ("USING", "INTO")), len(rest))
    if not rest or end == 0:
        return None
    try:
        tree = walker.parse("SELECT " + text[rest[0].start : rest[end - 1].end + 1])
    except ValueError:
        return None
    value: Any = tree["stmts"][0]["stmt"].get("SelectStmt", {}).get("targetList", [None])[0]
    return constant_text(unwrap(value)[1].get("val"))
