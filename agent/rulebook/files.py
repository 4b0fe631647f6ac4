"""Rule files as they stand at one moment, and the edition that is made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from agent.rulebook.editions import Edition
from rules import Judge, Problem, RuleError

SUFFIXES = (".yaml", ".yml")

MakeJudge = Callable[[Sequence[Path]], Judge]
"""Of these files. Raises RuleError."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What ``look`` found. Two that are equal hold the same bytes in the same files."""

    files: tuple[Path, ...]
    digest: str
    """Of names and bytes, not of folders: the same rules have the same digest on every host."""
    stamps: tuple[tuple[int, ...], ...]
    """Inode, size and times of each file: what was written and undone is a change too."""


class UnstableError(Exception):
    """The files changed while they were read."""


def look(paths: Iterable[Path], settings: Mapping[str, object]) -> Contents:
    """``settings`` is what else the rules follow from. Never raises: a file that cannot be read is
    part of the answer, and of its digest."""
    files = tuple(dict.fromkeys(file for path in paths for file in _files(path)))
    digest = hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS))
    stamps = []
    for file in files:
        stamps.append(_stamp(file))
        data = _bytes(file)
        digest.update(f"\0{file.name}\0{-1 if data is None else len(data)}\0".encode())
        digest.update(data or b"")
    return Contents(files, digest.hexdigest(), tuple(stamps))


def load(
    contents: Contents, settings: Mapping[str, object], make: MakeJudge, version: int = 0
) -> Edition:
    """Just what ``contents`` says, or UnstableError. Raises RuleError with all its problems."""
    try:
        judge = make(contents.files)
    except RuleError:
        if look(contents.files, settings) != contents:
            raise UnstableError from None
        raise
    if look(contents.files, settings) != contents:
        raise UnstableError
    return Edition(judge, contents.digest, version)


def sentences(error: RuleError) -> tuple[str, ...]:
    """One line for each problem: file, line, column and what is wrong."""
    return tuple(map(_sentence, error.problems))


def summary(sentences: Sequence[str]) -> str:
    """The first, and how many more there are."""
    more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
    return f"{sentences[0]}{more}" if sentences else ""


def _sentence(problem: Problem) -> str:
    if problem.expression:
        return str(problem).splitlines()[0].removesuffix(":")
    place = f"{problem.path}:{problem.line}:{problem.column}" if problem.line else problem.path
    return f"{place}: {problem.message}"


def _files(path: Path) -> list[Path]:
    """As the rule language reads a folder; an empty one is its problem to tell."""
    try:
        found = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES)
    except OSError:
        return [path]
    return found or [path]


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError as error:
        return (-1, error.errno or 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
