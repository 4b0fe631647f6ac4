"""A disk that forgets: what a power cut leaves of a folder that Python code writes.

``watch`` notes at each ``os.fsync`` how the folder looks and what is durable of it. A cut keeps
what is durable, and of the rest any part: a file may be cut short, have zeros, or be as new as it
was; a new name may be there or not, a renamed file have its old name or the new one. A folder has
its own name in the one above it: where that was not synced, it may be gone with all that is in it.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Names = dict[str, int]
"""File by relative path, as the inode's number."""
Folders = frozenset[str]
"""Relative paths."""


@dataclass(frozen=True)
class Moment:
    """Just before an fsync is done."""

    names: Names
    contents: dict[int, bytes]
    durable_names: Names
    durable_contents: dict[int, bytes]
    folders: Folders
    durable_folders: Folders
    told: int
    """How many things were promised durable by then."""


@dataclass
class PowerDisk:
    folder: Path
    promised: Callable[[], int]
    moments: list[Moment] = field(default_factory=list)
    _names: Names = field(default_factory=dict)
    _contents: dict[int, bytes] = field(default_factory=dict)
    _folders: Folders = frozenset()
    _fsync: Callable[[int], None] = os.fsync

    @contextmanager
    def watch(self) -> Iterator[None]:
        """From now on; what is there already is durable."""
        names, contents = self._look()
        self._names, self._contents = names, dict(contents)
        self._folders = self._all_folders()
        os.fsync = self._synced
        try:
            yield
        finally:
            os.fsync = self._fsync

    def cut(self, dice: random.Random, target: Path) -> int:
        """Write what a cut at some moment leaves; returns what had been promised by then."""
        moment = dice.choice(self.moments)
        lost = _folders_lost(moment, dice)
        target.mkdir()
        for name in moment.folders - lost:
            (target / name).mkdir(parents=True, exist_ok=True)
        for name, inode in _names_after(moment, dice).items():
            if lost.intersection(_all_above(name)):
                continue
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_content_after(moment, inode, dice))
        return moment.told

    def _synced(self, descriptor: int) -> None:
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        root = str(self.folder)
        if place != root and not place.startswith(root + "/"):
            return
        names, contents = self._look()
        self.moments.append(
            Moment(
                names,
                contents,
                dict(self._names),
                dict(self._contents),
                folders := self._all_folders(),
                self._folders,
                self.promised(),
            )
        )
        if os.path.isdir(place):
            inside = os.path.relpath(place, root)
            mine = {n: i for n, i in names.items() if _above(n) == inside}
            others = {n: i for n, i in self._names.items() if _above(n) != inside}
            self._names = others | mine
            self._folders = frozenset(
                {each for each in folders if _above(each) == inside}
                | {each for each in self._folders if _above(each) != inside}
            )
        else:
            inode = os.fstat(descriptor).st_ino
            if inode in contents:
                self._contents[inode] = contents[inode]

    def _all_folders(self) -> Folders:
        places = (path for path in self.folder.rglob("*") if path.is_dir())
        return frozenset(str(path.relative_to(self.folder)) for path in places)

    def _look(self) -> tuple[Names, dict[int, bytes]]:
        names, contents = {}, {}
        for path in self.folder.rglob("*"):
            if path.is_file():
                inode = path.stat().st_ino
                names[str(path.relative_to(self.folder))] = inode
                contents[inode] = path.read_bytes()
        return names, contents


def _above(name: str) -> str:
    return os.path.dirname(name) or "."


def _all_above(name: str) -> set[str]:
    return {str(each) for each in Path(name).parents}


def _folders_lost(moment: Moment, dice: random.Random) -> set[str]:
    """With what lies in them; a folder that was taken away meanwhile may be back without anything,
    which harms nobody."""
    new = sorted(moment.folders - moment.durable_folders)
    gone = {each for each in new if dice.random() < 0.5}
    return gone | {each for each in moment.folders if gone.intersection(_all_above(each))}


def _names_after(moment: Moment, dice: random.Random) -> Names:
    kept = dict(moment.durable_names)
    for name in sorted(moment.durable_names.keys() | moment.names.keys()):
        if dice.random() < 0.5:
            continue
        if name in moment.names:
            kept[name] = moment.names[name]
        else:
            kept.pop(name, None)
    for name, inode in moment.names.items():
        former = [old for old, other in moment.durable_names.items() if other == inode]
        if former and inode not in kept.values():  # renamed: it has the one name or the other
            kept[dice.choice((name, former[0]))] = inode
    return kept


def _content_after(moment: Moment, inode: int, dice: random.Random) -> bytes:
    old = moment.durable_contents.get(inode, b"")
    new = moment.contents.get(inode, old)
    if new == old:
        return old
    kind = dice.choice(("old", "new", "part", "zeros"))
    if kind == "old":
        return old
    if kind == "new":
        return new
    if not new.startswith(old):
        return dice.choice((old, new))
    length = dice.randrange(len(old), len(new) + 1)
    return new[:length] + (b"\0" * (len(new) - length) if kind == "zeros" else b"")
