"""pg_hba.conf and pg_ident.conf as the server reads them: rows like those of its own views.

For what the server does not show: maps before PostgreSQL 15, and rules to a role without the right.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.catalog.host_files import HostFiles, UnreadError

Row = dict[str, Any]
CONTINUED_SINCE = 14
"""A backslash before the end of a line goes on with the next one."""
INCLUDES_SINCE = 16
MAX_DEPTH = 10
BLANK = " \t\r\f\v"
WORDS_FOR_ADDRESSES = frozenset(["all", "samehost", "samenet"])
TYPES = frozenset(["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"])
METHODS = frozenset(
    [
        "trust", "reject", "scram-sha-256", "md5", "password", "gss", "sspi", "ident", "peer",
        "ldap", "radius", "cert", "pam", "bsd", "oauth",
    ]
)  # fmt: skip


class _WrongLineError(Exception):
    """What the server would say of a line; it is a row with an error, as in its own view."""


class Token(NamedTuple):
    text: str
    quoted: bool
    """In quotes a keyword is a name."""


Field = list[Token]
"""Tokens that commas join."""


class Line(NamedTuple):
    file: str
    number: int
    fields: list[Field]


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """Raises UnreadError wherever a file, or one that it includes, cannot be read."""

    files: HostFiles
    major: int

    def hba(self, path: str) -> list[Row]:
        return self._rows(path, _hba_row)

    def ident(self, path: str) -> list[Row]:
        return self._rows(path, _ident_row)

    def _rows(self, path: str, row: Callable[[Line], Row]) -> list[Row]:
        found = [row(line) for line in self._lines(path, 0)]
        for number, each in enumerate(found, 1):
            each["rule_number"] = number
            if self.major < INCLUDES_SINCE:
                each["file_name"] = ""
        return found

    def _lines(self, path: str, depth: int) -> Iterator[Line]:
        if depth > MAX_DEPTH:
            raise UnreadError(f"{path}: includes nest too deep")
        for number, text in self._texts(path):
            fields = [self._expanded(field, path, depth) for field in split(text)]
            if not fields:
                continue
            included = self._included(fields, path)
            if included is None:
                yield Line(path, number, fields)
                continue
            for each in included:
                yield from self._lines(each, depth + 1)

    def _texts(self, path: str) -> Iterator[tuple[int, str]]:
        lines = iter(enumerate(self.files.read(path).split("\n"), 1))
        for number, text in lines:
            while self.major >= CONTINUED_SINCE and text.endswith("\\"):
                _, more = next(lines, (0, ""))
                text = text[:-1] + more
            yield number, text

    def _included(self, fields: list[Field], path: str) -> list[str] | None:
        """Files that this line includes; None: it is a rule."""
        word = fields[0][0]
        if self.major < INCLUDES_SINCE or word.quoted or not word.text.startswith("include"):
            return None
        if word.text not in ("include", "include_if_exists", "include_dir") or len(fields) != 2:
            return None
        target = beside(path, fields[1][0].text)
        if word.text == "include_dir":
            names = self.files.names(target)
            return [f"{target}/{n}" for n in names if n.endswith(".conf") and n[0] != "."]
        if word.text == "include_if_exists":
            try:
                self.files.read(target)
            except UnreadError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    return []
                raise
        return [target]

    def _expanded(self, field: Field, path: str, depth: int) -> Field:
        """``@names`` stands for the words of a file."""
        found: Field = []
        for token in field:
            if token.quoted or not token.text.startswith("@") or len(token.text) == 1:
                found.append(token)
                continue
            if depth >= MAX_DEPTH:
                raise UnreadError(f"{path}: includes nest too deep")
            other = beside(path, token.text[1:])
            for _, text in self._texts(other):
                for inner in split(text):
                    found += self._expanded(inner, other, depth + 1)
        return found


def beside(path: str, name: str) -> str:
    return name if name.startswith("/") else f"{path.rpartition('/')[0]}/{name}"


def split(text: str) -> list[Field]:
    """
    >>> [[token.text for token in field] for field in split('local a,"b c", d  trust # why')]
    [['local'], ['a', 'b c', 'd'], ['trust']]
    """
    fields: list[Field] = []
    goes_on, at = False, 0
    while True:
        while at < len(text) and (text[at] in BLANK or text[at] == ","):
            at += 1
        if at >= len(text) or text[at] == "#":
            return fields
        token, at, comma = _token(text, at)
        if goes_on:
            fields[-1].append(token)
        else:
            fields.append([token])
        goes_on = comma


def _token(text: str, at: int) -> tuple[Token, int, bool]:
    """The token that starts at ``at``, where it ends, and whether a comma does so."""
    word: list[str] = []
    quoted, in_quotes = text[at] == '"', False
    while at < len(text):
        one = text[at]
        if not in_quotes and (one in BLANK or one in ",#"):
            break
        at += 1
        if one != '"':
            word.append(one)
        elif in_quotes and text[at : at + 1] == '"':
            word.append('"')
            at += 1
        else:
            in_quotes = not in_quotes
    comma = text[at : at + 1] == ","
    return Token("".join(word), quoted), at + comma, comma


def _hba_row(line: Line) -> Row:
    row: Row = dict.fromkeys(("type", "databases", "users", "address", "netmask", "method"), "")
    row |= {"file_name": line.file, "line_number": line.number, "options": [], "error": ""}
    try:
        return row | _hba_rule([",".join(token.text for token in each) for each in line.fields])
    except _WrongLineError as error:
        return row | {"error": str(error)}


def _hba_rule(words: list[str]) -> Row:
    """Raises _WrongLineError, in the server's words."""
    kind, *rest = words
    if kind not in TYPES:
        raise _WrongLineError(f'invalid connection type "{kind}"')
    wanted = ["database specification", "role specification"]
    wanted += ["authentication method"] if kind == "local" else ["IP address specification"]
    if len(rest) < len(wanted):
        raise _WrongLineError(f"end-of-line before {wanted[len(rest)]}")
    databases, users, *rest = rest
    address, mask, taken = ("", "", 0) if kind == "local" else _address(rest)
    if len(rest) == taken:
        raise _WrongLineError("end-of-line before authentication method")
    method, *options = rest[taken:]
    if method not in METHODS:
        raise _WrongLineError(f'invalid authentication method "{method}"')
    if kind == "local" and method == "ident":
        method = "peer"
    if method == "ldap" and options and not any(each.startswith("ldapurl=") for each in options):
        options.append("ldapscope=2")  # as the server shows its default
    if method == "cert" and not any(each.startswith("clientcert=") for each in options):
        options.append("clientcert=verify-full")
    return {
        "type": kind, "databases": databases, "users": users, "address": address,
        "netmask": mask, "method": method, "options": options,
    }  # fmt: skip


def _address(words: list[str]) -> tuple[str, str, int]:
    """Address, netmask, and how many of the words they take. Raises _WrongLineError."""
    first = words[0]
    if first in WORDS_FOR_ADDRESSES:
        return first, "", 1
    try:
        if "/" in first:
            host = ipaddress.ip_interface(first)
            return str(host.ip), str(host.netmask), 1
        address = ipaddress.ip_address(first)
    except ValueError:
        return first, "", 1
    if len(words) < 2:
        raise _WrongLineError("end-of-line before netmask specification")
    try:
        return str(address), str(ipaddress.ip_address(words[1])), 2
    except ValueError:
        raise _WrongLineError(f'invalid IP mask "{words[1]}"') from None


def _ident_row(line: Line) -> Row:
    row: Row = {"file_name": line.file, "line_number": line.number, "error": ""}
    words = [",".join(token.text for token in field) for field in line.fields]
    if len(words) < 3:
        return (
            row
            | dict.fromkeys(("map", "system_name", "name"), "")
            | {"error": "missing entry at end of line"}
        )
    return row | {"map": words[0], "system_name": words[1], "name": words[2]}
