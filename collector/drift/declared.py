"""Declarations that are the accepted state: read again when their file changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from collector.drift.baseline import Facts, Scope
from collector.drift.declaration import Declaration, DeclarationError, read_declaration

Signature = tuple[int, int, int]


@dataclass(frozen=True)
class DeclaredFile:
    path: Path
    cluster: str = "*"
    """Of which clusters it is the state; a pattern as in a shell."""
    database: str = ""
    """What the one database of the file is called there; empty: as in the file."""


@dataclass
class _Read:
    file: DeclaredFile
    signature: Signature | None = None
    declaration: Declaration | None = None
    problem: str = ""
    looked: bool = False
    parts: dict[tuple[str, str], Facts] = field(default_factory=dict)
    """By kind and database, with the database by its name there."""


class DeclaredState:
    """What the files say; a file that became invalid counts as it was when it was last right."""

    def __init__(self, files: Sequence[DeclaredFile] = ()) -> None:
        self._read = [_Read(file) for file in files]

    def reload(self) -> bool:
        """Whether anything may differ now."""
        changed = False
        for read in self._read:
            signature = _signature(read.file.path)
            if read.looked and signature == read.signature:
                continue
            read.looked, read.signature = True, signature
            try:
                read.declaration = read_declaration(read.file.path)
                read.parts = _parts(read.declaration, read.file.database)
                read.problem, changed = "", True
            except DeclarationError as error:
                read.problem = "; ".join(error.problems[:3])
        return changed

    def facts(self, scope: Scope) -> Facts | None:
        """What is declared of this scope; the first file that says something counts."""
        for read in self._read:
            key = (str(scope.kind), scope.database)
            if fnmatchcase(scope.cluster, read.file.cluster) and key in read.parts:
                return read.parts[key]
        return None

    def covers(self, scope: Scope) -> bool:
        """Some file is about this cluster, whether or not it could be read."""
        return any(fnmatchcase(scope.cluster, read.file.cluster) for read in self._read)

    def problems(self) -> list[str]:
        return [read.problem for read in self._read if read.problem]

    def paths(self) -> list[str]:
        return [str(read.file.path) for read in self._read]


def _parts(declaration: Declaration, name: str) -> dict[tuple[str, str], Facts]:
    databases = declaration.databases()
    if name and len(databases) > 1 and name not in databases:
        raise DeclarationError(
            [f"{declaration.path}: declares several databases, none of which is {name}"]
        )
    only = name if name in databases else (databases[0] if databases else "")
    return {
        (str(kind), name if name and database else database): facts
        for (kind, database), facts in declaration.parts.items()
        if not name or database in ("", only)
    }


def _signature(path: Path) -> Signature | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
