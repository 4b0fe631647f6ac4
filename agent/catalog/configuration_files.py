"""Which files say how a server is configured: those that it names, and what these include."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from agent.catalog.access_files import AccessFiles, beside
from agent.catalog.host_files import HostFiles, UnreadError

CONFIG, HBA, IDENT = "config_file", "hba_file", "ident_file"
USUAL = {CONFIG: "postgresql.conf", HBA: "pg_hba.conf", IDENT: "pg_ident.conf"}
"""In the data directory, where the server does not tell us the names."""
OWN = "postgresql.auto.conf"
MOST_FILES = 500
MAX_DEPTH = 10
MOST_FOLDERS = 16
_INCLUDE = re.compile(
    r"^[ \t]*(include_if_exists|include_dir|include)[ \t]*=?[ \t]*('(?:[^'\\]|''|\\.)*'|[^\s'#]+)",
    re.IGNORECASE | re.MULTILINE,
)

Folders = Mapping[Path, frozenset[str]]
"""Names of files by the folder that they are in; ``ANY_NAME`` where any of them counts."""


def folders_of(files: HostFiles, major: int, named: Mapping[str, str]) -> Folders:
    """Where to look for changes. ``named``: settings that name files, as the server has them.

    A file that cannot be read counts as well: somebody may change that. Of links both ends count.
    """
    found: dict[Path, set[str]] = {}
    data = str(_inside(files))

    def note(path: Path) -> None:
        found.setdefault(path.parent, set()).add(path.name)

    noting = replace(files, noted=note)
    access = AccessFiles(noting, major)
    paths = {setting: named.get(setting) or f"{data}/{usual}" for setting, usual in USUAL.items()}
    _follow(noting, f"{data}/{OWN}")
    _follow(noting, paths[CONFIG])
    # Whoever reads the kind says what cannot be read; what was asked for is noted.
    with suppress(UnreadError):
        access.hba(paths[HBA])
    with suppress(UnreadError):
        access.ident(paths[IDENT])
    return {folder: frozenset(names) for folder, names in found.items()}


def _inside(files: HostFiles) -> PurePosixPath:
    """The data directory as the server calls it."""
    return PurePosixPath("/") / files.data_directory.relative_to(files.root)


def _follow(files: HostFiles, path: str) -> None:
    todo, seen = [(path, 0)], {path}
    while todo and len(seen) <= MOST_FILES:
        now, depth = todo.pop()
        try:
            more = list(_included(files, now))
        except UnreadError:
            continue
        new = [each for each in more if each not in seen]
        seen.update(new)
        if depth < MAX_DEPTH:
            todo += [(each, depth + 1) for each in new]


def _included(files: HostFiles, path: str) -> Iterator[str]:
    for word, written in _INCLUDE.findall(files.read(path)):
        target = beside(path, _unquoted(written))
        if word.lower() != "include_dir":
            yield target
            continue
        try:
            names = files.names(target)
        except UnreadError:
            continue
        yield from (f"{target}/{n}" for n in names if n.endswith(".conf") and n[0] != ".")


def _unquoted(written: str) -> str:
    """
    >>> _unquoted("'it''s.conf'"), _unquoted("plain.conf")
    ("it's.conf", 'plain.conf')
    """
    if not written.startswith("'"):
        return written
    return re.sub(r"\\(.)", r"\1", written[1:-1].replace("''", "'"))
