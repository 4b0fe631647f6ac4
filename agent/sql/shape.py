"""One text to the fields of its Shape, with libpg_query's C functions only.

Runs inside the worker. ``parse_sql`` builds Python objects recursively in C and crashes on deep
trees; the JSON form is bounded by libpg_query's own stack check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import orjson
import pglast.parser

from agent.sql.blind import classify_blind
from agent.sql.classify import classify
from agent.sql.facts import Facts
from agent.sql.junk import without_junk
from agent.sql.redact import Token, redact_parsed, redact_tokens, redact_unscanned
from agent.sql.tree import Node
from model.statement import ParseStatus

MAX_ALTERNATIVE_READINGS = 8
_QUERIES = frozenset({"select", "insert", "update", "delete", "merge"})
_OUT_OF_ROOM = ("memory exhausted", "stack depth limit", "out of memory")
"""libpg_query's words when a text is too deep for it: nobody knows what PostgreSQL would say."""


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of a string that has several."""

    status: str
    operation: str = ""
    summary: str = ""
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


NOT_TOLD_APART = Part(ParseStatus.TOO_LONG)
"""Of statements beyond ``MAX_PARTS``, besides their facts put together."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the worker says of one text: a Shape without its digest."""

    status: str
    redacted_text: str
    operation: str = ""
    summary: str = ""
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    fingerprint: str = ""
    statements: int = 0
    parts: tuple[Part, ...] = ()
    starts: tuple[int, ...] = ()
    """Where each of ``parts`` begins, in bytes; empty where nobody can say."""
    decisive: tuple[int, ...] | None = None
    """Indices of the literals (``skeleton.literals_in``) that all this depends on; None where
    it may depend on any."""


class UnparsedError(ValueError):
    """The text has no parse tree; ``status`` says why."""

    def __init__(self, status: ParseStatus) -> None:
        super().__init__(status.value)
        self.status = status


def answer(text: str) -> Answer:
    """The Answer to ``text``, which is UTF-8, holds no NUL and is at most 64 KB."""
    tokens = scan(text)
    if tokens is None:
        spaced = _spaced(text)
        # The places of literals are those of another text, so nothing holds for texts like it.
        return spaced or Answer(_failure(text), redact_unscanned(text))
    if ambiguous(text, tokens):
        return Answer(ParseStatus.FAILED, redact_tokens(text, tokens, parsed=False))
    try:
        tree = parse(text)
    except UnparsedError as error:
        return Answer(error.status, redact_tokens(text, tokens, parsed=False))
    except RecursionError:
        return Answer(ParseStatus.FAILED, redact_tokens(text, tokens, parsed=False))
    return _whole(text, tokens, tree)


def _spaced(text: str) -> Answer | None:
    """Of a text that PostgreSQL before 15 reads, though libpg_query's scanner does not."""
    spaced = without_junk(text)
    if spaced is None or scan(spaced) is None:
        return None
    # What follows a number may be the rest of a secret that somebody forgot to quote.
    hidden = redact_unscanned(text)
    found = replace(answer(spaced), redacted_text=hidden, starts=(), decisive=None)
    return found if found.status == ParseStatus.PARSED else None


def judgeable(text: str) -> tuple[Answer, Callable[[], Answer]]:
    """As ``answer``, without what takes as long again and no rule can see: redaction, fingerprint,
    and what holds for texts like this one; and how to get the whole."""
    tokens = scan(text)
    if tokens is not None and not ambiguous(text, tokens):
        with suppress(UnparsedError, RecursionError):
            tree = parse(text)
            facts = classify(tree, parse)
            return _answer_of(facts, tree), lambda: _whole(text, tokens, tree)
    whole = answer(text)
    return whole, lambda: whole


def _whole(text: str, tokens: Sequence[Token], tree: Node) -> Answer:
    try:
        blind = classify_blind(text, tokens, tree, parse)
        facts, decisive = blind or (classify(tree, parse), None)
    except UnparsedError as error:
        return Answer(error.status, redact_tokens(text, tokens, parsed=False))
    except RecursionError:
        return Answer(ParseStatus.FAILED, redact_tokens(text, tokens, parsed=False))
    return _parsed(text, tokens, tree, facts, decisive)


def _parsed(
    text: str,
    tokens: Sequence[Token],
    tree: Node,
    facts: Facts,
    decisive: tuple[int, ...] | None,
) -> Answer:
    secret = facts.credentials or "password" in facts.flags
    redacted, hidden = redact_parsed(text, tokens)
    fingerprint = "" if secret else _fingerprint(text, tokens, facts)
    found = _answer_of(facts, tree, redacted, fingerprint, decisive)
    # What MySQL quotes as a value PostgreSQL reads as a column.
    if hidden.isdisjoint(found.columns):
        return found
    parts = tuple(replace(each, columns=_without(hidden, each.columns)) for each in found.parts)
    return replace(found, columns=_without(hidden, found.columns), parts=parts)


def _without(hidden: Collection[str], columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for each in columns if each not in hidden)


def _answer_of(
    facts: Facts,
    tree: Node,
    redacted_text: str = "",
    fingerprint: str = "",
    decisive: tuple[int, ...] | None = None,
) -> Answer:
    return Answer(
        status=ParseStatus.PARSED,
        redacted_text=redacted_text,
        operation=next(iter(facts.verbs), ""),
        summary=facts.summary,
        verbs=tuple(facts.verbs),
        objects=tuple(facts.objects),
        reads=tuple(facts.reads),
        writes=tuple(facts.writes),
        columns=tuple(facts.columns),
        functions=tuple(facts.functions),
        settings=tuple(facts.settings),
        roles=tuple(facts.roles),
        flags=tuple(facts.flags),
        changes=tuple(facts.changes),
        fingerprint=fingerprint,
        statements=len(tree.get("stmts", [])),
        parts=_parts_of(facts, len(tree.get("stmts", []))) if facts.parts else (),
        starts=tuple(facts.starts),
        decisive=decisive,
    )


def _parts_of(facts: Facts, statements: int) -> tuple[Part, ...]:
    parts = tuple(
        Part(
            status=ParseStatus.PARSED,
            operation=next(iter(each.verbs), ""),
            summary=each.summary,
            verbs=tuple(each.verbs),
            objects=tuple(each.objects),
            reads=tuple(each.reads),
            writes=tuple(each.writes),
            columns=tuple(each.columns),
            functions=tuple(each.functions),
            settings=tuple(each.settings),
            roles=tuple(each.roles),
            flags=tuple(each.flags),
            changes=tuple(each.changes),
        )
        for each in facts.parts
    )
    return parts if len(parts) == statements else (*parts, NOT_TOLD_APART)


def parse(text: str) -> Node:
    """The parse tree; raises UnparsedError."""
    try:
        source = pglast.parser.parse_sql_json(text)
    except pglast.parser.ParseError as error:
        raise UnparsedError(_status_of(error)) from None
    try:
        tree: Node = orjson.loads(source)
    except orjson.JSONDecodeError:
        # orjson stops at 1,024 levels, which 500 terms joined by || reach; the standard library
        # goes as deep as the recursion limit.
        tree = json.loads(source)
    return tree


def scan(text: str) -> Sequence[Token] | None:
    try:
        tokens: Sequence[Token] = pglast.parser.scan(text)
    except pglast.parser.ParseError:
        return None
    return tokens


def ambiguous(text: str, tokens: Sequence[Token]) -> bool:
    r"""Whether the text reads otherwise where standard_conforming_strings is off.

    ``'a\'; DROP TABLE t; --'`` is one string there and two statements here. The session's setting
    is not in the text, so such a text counts as not understood, unless the other reading leaves a
    quote open and so cannot run, as with ``LIKE x ESCAPE '\'``.
    """
    if "\\'" not in text:
        return False
    for _ in range(MAX_ALTERNATIVE_READINGS):
        doubtful = next((t for t in tokens if _backslash_before_quote(text, t)), None)
        if doubtful is None:
            return False
        if not _escape_character(text, tokens, doubtful):
            return True
        text = f"{text[: doubtful.start]}E{text[doubtful.start :]}"
        other = scan(text)
        if other is None:
            return False
        tokens = other
        if next((t for t in tokens if _backslash_before_quote(text, t)), None) is None:
            return True
    return True


def _backslash_before_quote(text: str, token: Token) -> bool:
    return (
        token.name == "SCONST"
        and text[token.start] == "'"
        and "\\'" in text[token.start : token.end + 1]
    )


def _escape_character(text: str, tokens: Sequence[Token], token: Token) -> bool:
    at = tokens.index(token)
    is_backslash = text[token.start : token.end + 1] == "'\\'"
    return is_backslash and at > 0 and tokens[at - 1].name == "ESCAPE"


def _failure(text: str) -> ParseStatus:
    try:
        pglast.parser.fingerprint(text)
    except pglast.parser.ParseError as error:
        return _status_of(error)
    return ParseStatus.FAILED


def _status_of(error: Exception) -> ParseStatus:
    words = str(error.args[0]) if error.args else ""
    return ParseStatus.FAILED if words.startswith(_OUT_OF_ROOM) else ParseStatus.INVALID


def _fingerprint(text: str, tokens: Sequence[Token], facts: Facts) -> str:
    """libpg_query leaves out the constants of queries, but not the strings of other commands."""
    if not _QUERIES.issuperset(facts.verbs):
        text = _without_strings(text, tokens)
    try:
        return str(pglast.parser.fingerprint(text))
    except pglast.parser.ParseError:
        return ""


def _without_strings(text: str, tokens: Sequence[Token]) -> str:
    parts: list[str] = []
    at = 0
    for token in tokens:
        if token.name in ("SCONST", "USCONST"):
            parts += (text[at : token.start], "''")
            at = token.end + 1
    return "".join((*parts, text[at:]))
