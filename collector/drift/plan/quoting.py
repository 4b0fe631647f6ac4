"""Names and texts of facts as SQL; what is not safely one, is refused."""

from __future__ import annotations

import re

from collector.drift.lines import outside_quotes

_PLAIN = r"[a-z_\u0080-\uffff][a-z0-9_$\u0080-\uffff]*"
_QUOTED = r'"(?:[^"\x00]|"")+"'
_UNICODE = r'U&"(?:[^"\x00]|"")+"'
"""How snapshots write a quoted name that would end a line."""
_PART = rf"(?:{_UNICODE}|{_PLAIN}|{_QUOTED})"
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")
_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]+?))\s*(?:,|$)')


class NotSqlError(Exception):
    """A fact that cannot be said in SQL; the message says why."""


def ident(name: str) -> str:
    """A raw name (of a role, a database) as SQL writes it.

    >>> ident("etl"), ident("Odd \\"name"), ident("user")
    ('"etl"', '"Odd ""name"', '"user"')
    """
    if not name or "\x00" in name:
        raise NotSqlError("a name is empty")
    quoted = name.replace('"', '""')
    return f'"{quoted}"'


def role(name: str) -> str:
    """A role as facts name it: raw, or quoted already; PUBLIC is everybody."""
    if name == "PUBLIC":
        return name
    return name if re.fullmatch(_QUOTED, name) else ident(name)


def literal(text: str) -> str:
    """
    >>> literal("it's"), literal("a\\\\b")
    ("'it''s'", "E'a\\\\\\\\b'")
    """
    if "\x00" in text:
        raise NotSqlError("a text holds a zero byte")
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def name(text: str) -> str:
    """A name that the server quoted, perhaps with its schema: as it is, if it is nothing else.

    >>> name('hr."Odd ""name"')
    'hr."Odd ""name"'
    """
    if not _NAME.fullmatch(text):
        raise NotSqlError(f"{text!r} is not a name that SQL can read; quote it with double quotes")
    return text


def signature(text: str) -> str:
    """``hr.raise(integer)``: the name is checked, the rest when the statement is read."""
    at = outside_quotes(text, "(")
    if at < 0 or not text.endswith(")"):
        raise NotSqlError(f"{text!r} is not a function with its arguments")
    name(text[:at])
    return text


def split_last(text: str) -> tuple[str, str]:
    """``hr.salary.only_own`` -> its table and its own name, both as SQL.

    >>> split_last('hr."a.b"."c.d"')
    ('hr."a.b"', '"c.d"')
    """
    at = outside_quotes(text, ".", last=True)
    if at < 0:
        raise NotSqlError(f"{text!r} does not say what it belongs to")
    return name(text[:at]), name(text[at + 1 :])


def schema_of(text: str) -> str:
    """
    >>> schema_of('"a.b".c')
    '"a.b"'
    """
    at = outside_quotes(text, ".")
    return name(text[:at]) if at >= 0 else ""


def elements(value: str) -> list[str]:
    """A list as a setting stores it.

    >>> elements('"$user", public'), elements("")
    (['$user', 'public'], [])
    """
    found, at = [], 0
    while at < len(value):
        match = _ELEMENT.match(value, at)
        if match is None or match.end() == at:
            raise NotSqlError(f"{value!r} is not a list of names")
        found.append(match[1].replace('""', '"') if match[1] is not None else match[2])
        at = match.end()
    return found


def listed(text: str) -> list[str]:
    """
    >>> listed('hr.a, "b, c"')
    ['hr.a', '"b, c"']
    """
    found, rest = [], text
    while (at := outside_quotes(rest, ", ")) >= 0:
        found.append(rest[:at])
        rest = rest[at + 2 :]
    return [*found, rest]


def comment(text: str) -> str:
    """On one line, whatever names hold."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
