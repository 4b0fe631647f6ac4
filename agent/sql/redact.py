"""Statement text without its literals.

Where PostgreSQL's scanner can read the text, redaction follows its tokens: strings, numbers, bit
strings and dollar-quoted bodies become ``?``, comments go, white space shrinks. Where it cannot,
everything from the first quote on is dropped. ``normalize`` of libpg_query is no redaction: it
leaves literals in COPY, COMMENT, ALTER SYSTEM, server options and more.

Names stay, because a record without names is worthless. Names that can hold a value do not: quoted
aliases become ``"a1"``, ``"a2"`` ...; a quoted name that does not look like one becomes ``"?"``;
values of SET, and words after PASSWORD, become ``?``. In text that the grammar refuses, words after
the first string may be the inside of a badly quoted one and become ``?``, and so does a quoted name
that is not plainly a relation's; where it does not begin as a statement on data, every name does.
What remains is a secret typed where a name belongs and looking like a name: no one can tell that
one apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

MAX_REDACTED_CHARS = 16_384
DROPPED = "..."
"""Stands for the rest of a text that was cut off or could not be judged."""


class Token(Protocol):
    """A token of libpg_query's scanner; ``end`` is the index of its last character."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...


_STRINGS = frozenset({"SCONST", "USCONST", "BCONST", "XCONST"})
_NUMBERS = frozenset({"ICONST", "FCONST"})
_COMMENTS = frozenset({"C_COMMENT", "SQL_COMMENT"})
_IDENTS = frozenset({"IDENT", "UIDENT"})
_ENDS_EXPRESSION = _STRINGS | _NUMBERS | _IDENTS | {"PARAM", "ASCII_41", "ASCII_93"}
_BEFORE_RELATION = frozenset({"INTO", "FROM", "TABLE", "UPDATE", "JOIN", "ONLY"})
_ASSIGNS = frozenset({"TO", "ASCII_61"})

_NAME = re.compile(r"[^\W\d][\w $.-]{0,62}\Z")
"""What a quoted identifier must look like to be shown."""
_ESCAPED = re.compile(r"\\(?:([0-9a-fA-F]{4})|\+([0-9a-fA-F]{6}))")
"""In U&"..."; what says another character with UESCAPE is hidden as it stands."""
_CREDENTIALS = re.compile(
    r"(^|;|\bas\s)\s*(set|reset)\b"
    r"|\b(create|alter)\s+(role|user|group|system|database|server|subscription|foreign|publication)\b"
    r"|\bidentified\b|\bpas+w|:\s*/\s*/",
    re.IGNORECASE,
)
"""In a text that does not parse, wherever it stands: behind PREPARE, EXPLAIN, another statement."""
_FIRST_WORDS = re.compile(r"(?:^|;)[\s(;]*(\w+)")
_DATA = frozenset(("select", "insert", "update", "delete", "with", "copy", "values", "table"))
_REPLICATION = frozenset(
    f"{verb}_replication_slot" for verb in ("create", "alter", "drop", "read")
) | {"start_replication", "base_backup", "identify_system", "timeline_history", "upload_manifest"}


def may_name_credentials(text: str) -> bool:
    """Of a text that does not parse, without comments. Who misspells PASSWORD may misspell ROLE as
    well: only what plainly begins as a statement on data, or as a command of replication, which has
    no other names, is believed to be one."""
    firsts = _FIRST_WORDS.findall(text)
    return (
        _CREDENTIALS.search(text) is not None
        or not {w.lower() for w in firsts} <= _DATA | _REPLICATION
    )


def is_name(text: str) -> bool:
    """Whether an identifier looks like a name and not like a value somebody quoted wrongly."""
    return _NAME.match(text) is not None


def redact_tokens(text: str, tokens: Sequence[Token], *, parsed: bool) -> str:
    """``text`` without literals, from the scanner's ``tokens``.

    ``parsed`` says whether the grammar accepted the text; if not, fewer words are believed.
    """
    return _TokenRedaction(text, tokens, parsed).run()


def redact_parsed(text: str, tokens: Sequence[Token]) -> tuple[str, frozenset[str]]:
    """Of a text that the grammar accepted; and the names, as PostgreSQL folds them, that it hides
    wherever they stand."""
    redaction = _TokenRedaction(text, tokens, True)
    redacted = redaction.run()
    return redacted, frozenset(map(_folded, redaction.hidden - redaction.shown))


class _TokenRedaction:
    """One pass over the tokens; the state says what an identifier may mean here."""

    def __init__(self, text: str, tokens: Sequence[Token], parsed: bool) -> None:
        self._text = text
        self._parsed = parsed
        self._tokens = [token for token in tokens if token.name not in _COMMENTS]
        self._all = tokens
        self._aliases: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.shown: set[str] = set()
        """Names as they stand in the text."""
        self._start_statement()
        self._seen_string = False
        self._bare = not parsed and may_name_credentials(_without_comments(text, tokens))

    def run(self) -> str:
        if not _covers(self._text, self._all):
            return redact_unscanned(self._text)
        self._collect_aliases()
        parts: list[str] = []
        size = 0
        previous: Token | None = None
        for index, token in enumerate(self._tokens):
            if token.name == "SCONST" and not self._sure_string(index):
                parts.append(" " + DROPPED)
                break
            piece = self._show(index, token, previous)
            if previous is not None and token.start > previous.end + 1:
                piece = " " + piece
            size += len(piece)
            if size > MAX_REDACTED_CHARS:
                parts.append(" " + DROPPED)
                break
            parts.append(piece)
            previous = token
        return "".join(parts)

    def _start_statement(self) -> None:
        self._first = ""
        self._set_seen = False
        self._in_value = False
        self._after_password = False

    def _raw(self, token: Token) -> str:
        return self._text[token.start : token.end + 1]

    def _sure_string(self, index: int) -> bool:
        r"""A backslash before a quote ends another string if standard_conforming_strings is off."""
        raw = self._raw(self._tokens[index])
        if "\\'" not in raw or raw[0] != "'":
            return True
        return raw == "'\\'" and index > 0 and self._tokens[index - 1].name == "ESCAPE"

    def _show(self, index: int, token: Token, previous: Token | None) -> str:
        name = token.name
        if name == "ASCII_59":
            self._start_statement()
            return ";"
        if name in _STRINGS or name in _NUMBERS:
            self._seen_string = self._seen_string or name in _STRINGS
            return "?"
        if name == "PARAM":
            return self._raw(token)[:6]
        if name in _IDENTS:
            shown = self._identifier(index, token, previous)
            self._after_password = False
            return shown
        if name == "UNKNOWN":
            return "?"
        if name == "Op" and "`" in self._raw(token):
            self._seen_string = True  # another dialect's quote
        self._note_word(token)
        return self._raw(token)

    def _note_word(self, token: Token) -> None:
        """Where in a statement are we: may the next identifier be a value?"""
        name = token.name
        if token.kind != "NO_KEYWORD":
            self._first = self._first or name
        self._after_password = name == "PASSWORD" or (self._after_password and name in _ASSIGNS)
        if self._first in ("SET", "ALTER", "CREATE"):
            self._set_seen = self._set_seen or name == "SET"
            if self._set_seen and (name in _ASSIGNS or name == "ZONE"):
                self._in_value = True

    def _identifier(self, index: int, token: Token, previous: Token | None) -> str:
        raw = self._raw(token)
        piece = self._name(index, raw, token, previous)
        (self.hidden if "?" in piece else self.shown).add(raw)
        return piece

    def _name(self, index: int, raw: str, token: Token, previous: Token | None) -> str:
        glued = (
            previous is not None and previous.name in _STRINGS and token.start == previous.end + 1
        )
        if self._after_password or self._in_value or glued or self._bare:
            return "?"
        if not self._parsed and self._seen_string:
            return "?"
        if not raw.endswith('"'):
            return raw if is_name(raw) else "?"
        if not self._parsed and (previous is None or previous.name not in _BEFORE_RELATION):
            return '"?"'
        if raw in self._aliases and (self._after_dot(index) is False or self._is_alias(index)):
            return f'"{self._aliases[raw]}"'
        return raw if is_name(raw.strip('"')) else '"?"'

    def _after_dot(self, index: int) -> bool:
        return index > 0 and self._tokens[index - 1].name == "ASCII_46"

    def _is_alias(self, index: int) -> bool:
        """A quoted identifier after AS, or straight after the end of an expression or relation."""
        if index == 0 or not self._raw(self._tokens[index]).endswith('"'):
            return False
        before = self._tokens[index - 1]
        if before.name == "AS":
            return True
        return before.name in _ENDS_EXPRESSION and self._tokens[index].name in _IDENTS

    def _collect_aliases(self) -> None:
        if '"' not in self._text:
            return
        for index, token in enumerate(self._tokens):
            if token.name in _IDENTS and self._is_alias(index):
                self._aliases.setdefault(self._raw(token), f"a{len(self._aliases) + 1}")


def _folded(raw: str) -> str:
    r"""
    >>> _folded('Id'), _folded('"A ""b"'), _folded(r'U&"d\0061t"')
    ('id', 'A "b', 'dat')
    """
    if not raw.endswith('"'):
        return raw.lower()
    name = raw[raw.index('"') + 1 : -1].replace('""', '"')
    return name if raw.startswith('"') else _ESCAPED.sub(lambda m: chr(int(m[1] or m[2], 16)), name)


def _covers(text: str, tokens: Sequence[Token]) -> bool:
    """Whether nothing but white space lies between the tokens: else the offsets are not sure."""
    at = 0
    for token in tokens:
        if token.start < at or (token.start > at and text[at : token.start].strip()):
            return False
        at = token.end + 1
    return not text[at:].strip()


def _without_comments(text: str, tokens: Sequence[Token]) -> str:
    words = [text[t.start : t.end + 1] for t in tokens if t.name not in _COMMENTS]
    return " ".join(words).lstrip(" ;")


_UNSURE = re.compile(r"""['"`\u2018-\u201f\u00ab\u00bb\\\x00]|\$(?!\d)|/\*|--""")
_LEAD_COMMENT = re.compile(r"\s*(?:--[^\n]*\n|/\*(?:(?!/\*|\*/).)*\*/)", re.DOTALL)
_AFTER_KEYWORD = re.compile(
    r'\b(?:into|from|table|update|join|only)\s+((?:"[A-Za-z_]\w{0,62}"\s*\.\s*)?'
    r'"[A-Za-z_]\w{0,62}")(?=[\s(;]|$)',
    re.IGNORECASE,
)
_DIGITS = re.compile(r"[\w.]+")
_WORD = re.compile(r"[^\W\d]\w*")
_CREDENTIAL_WORDS = """
    add admin alter all authorization bypassrls by connection connect conninfo create createdb
    createrole data database encrypted exists for foreign from group if in inherit limit local
    login mapping nobypassrls nocreatedb nocreaterole noinherit nologin noreplication
    nosuperuser null options owner password publication replication reset role rename server
    session set subscription superuser system table tablespace template time to type
    unencrypted until user valid version with wrapper zone
"""
_KEYWORDS_OF_CREDENTIALS = frozenset(_CREDENTIAL_WORDS.split())


def redact_unscanned(text: str) -> str:
    """What is safe of a text that the scanner cannot read: the part before the first quote.

    A name quoted straight after INTO, FROM, TABLE, UPDATE or JOIN is still sure, as nothing quoted
    came before it: statements of object-relational mappers keep their relation.
    """
    whole = len(text)
    text = text[: 2 * MAX_REDACTED_CHARS]
    start = 0
    while lead := _LEAD_COMMENT.match(text, start):
        start = lead.end()
    end, at = len(text), start
    while unsure := _UNSURE.search(text, at):
        named = _AFTER_KEYWORD.search(text, max(0, unsure.start() - 16))
        if unsure.group() == '"' and named and named.start(1) == unsure.start():
            at = named.end(1)
            continue
        end = unsure.start()
        break
    kept = _DIGITS.sub(_hide_number, text[start:end]).lstrip(" ;(\t\r\n\f\v")
    if may_name_credentials(kept):
        kept = _WORD.sub(_hide_unless_keyword, kept)
    kept = " ".join(kept.split())
    if end == whole and len(kept) <= MAX_REDACTED_CHARS:
        return kept
    return f"{kept[:MAX_REDACTED_CHARS]} {DROPPED}".strip()


def _hide_number(match: re.Match[str]) -> str:
    """Names may hold digits (``orders_2024``), but a word that begins with one is a value."""
    word = match.group()
    first = word.lstrip(".")[:1]
    return "?" if first.isdigit() else word


def _hide_unless_keyword(match: re.Match[str]) -> str:
    """A verb of SQL is one where a statement begins; elsewhere it may be a value."""
    word = match.group()
    known = _VERBS if match.start() == 0 else _KEYWORDS_OF_CREDENTIALS
    return word if word.lower() in known else "?"


_LEADING_VERBS = """
    select insert update delete merge with values table copy create alter drop truncate grant revoke
    set reset show explain execute prepare deallocate declare fetch close begin start commit
    rollback savepoint release do call lock vacuum analyze cluster reindex refresh comment notify
    listen unlisten discard checkpoint load reassign import security
"""
_VERBS = frozenset(_LEADING_VERBS.split())


def leading_verb(redacted_text: str) -> str:
    """The verb that a text without parse tree begins with, empty if it is none of SQL's.

    For people who read the record. A guard must not believe it.
    """
    word = _WORD.match(redacted_text.lstrip(" (;"))
    verb = word.group().lower() if word else ""
    return verb if verb in _VERBS else ""
