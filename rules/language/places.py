"""From a character of a YAML scalar back to its place in the file: folding joins lines and drops
indents, and quotes and escapes are no part of the value."""

from __future__ import annotations

from typing import NamedTuple

import yaml

BLOCK = (">", "|")


class Place(NamedTuple):
    """Both from 1."""

    line: int
    column: int
    shown: str
    """The whole line."""


def place_of(source: str, node: yaml.ScalarNode, offset: int) -> Place | None:
    """Of character ``offset`` of the scalar; past the end it is the place behind the last one. None
    where an escape stands for another character, so that nobody can tell."""
    lines = source.split("\n")
    line, column = node.start_mark.line, node.start_mark.column
    if node.style in BLOCK:
        line, column = line + 1, 0  # behind the header
    at = sum(len(each) + 1 for each in lines[:line]) + column + (node.style in ("'", '"'))
    value = str(node.value)
    end = at
    for index, character in enumerate(value):
        if character.isspace() and index != offset:
            continue  # some of it is made by folding
        found = _next(source, at, character, str(node.style or ""))
        if found < 0:
            return None
        if index == offset:
            return _place(source, lines, found)
        at = end = found + 1
        if node.style == "'" and character == "'":
            at += 1
    return _place(source, lines, end)


def _next(source: str, at: int, character: str, style: str) -> int:
    """Where it stands; before it there is only what is no part of the value."""
    if character.isspace():
        return at
    while at < len(source) and source[at].isspace():
        at += 1
    while style == '"' and source[at : at + 1] == "\\":
        at += 1
        while at < len(source) and source[at].isspace():
            at += 1
    return at if source[at : at + 1] == character else -1


def _place(source: str, lines: list[str], at: int) -> Place:
    line = source.count("\n", 0, at)
    column = at - (source.rfind("\n", 0, at) + 1)
    return Place(line + 1, column + 1, lines[line].rstrip("\r"))
