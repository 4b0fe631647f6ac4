"""A server program of our own to change: what other builds are like, and what an upgrade does."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tests.live.postgres import server_folder

PROGRAMS = ("initdb", "pg_ctl", "postgres")
NAME_OFFSET, VALUE_OFFSET = 0, 8
"""Of ``st_name`` and ``st_value`` in an Elf64_Sym."""


def copy_programs(folder: Path) -> Path:
    """Debian's programs into a new folder, which must not be called bin: the server would look for
    its libraries beside it."""
    folder.mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copy2(server_folder() / "bin" / name, folder / name)
    return folder


@contextmanager
def open_folder() -> Iterator[Path]:
    """One that the server's account may enter, which pytest's own it may not."""
    with tempfile.TemporaryDirectory(prefix="pgwarden-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def upgrade_in_place(program: Path, build: Path | None = None) -> None:
    """As a package manager does it: another file by the same name, of the same content unless
    ``build`` is given."""
    fresh = program.with_suffix(".new")
    shutil.copy2(build or program, fresh)
    os.replace(fresh, program)


def bypass(program: Path, function: str, instead: str) -> None:
    """Let the exported ``function`` lead to ``instead``, which never runs, as on a build that calls
    an inlined copy: the server itself works as before."""
    _overwrite(program, function, instead, VALUE_OFFSET, "st_value", 8)


def hide(program: Path, function: str, behind: str) -> None:
    """Let nothing be called ``function``."""
    _overwrite(program, function, behind, NAME_OFFSET, "st_name", 4)


def _overwrite(
    program: Path, function: str, source: str, offset: int, member: str, size: int
) -> None:
    with program.open("r+b") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym")
        index = {symbol.name: number for number, symbol in enumerate(symbols.iter_symbols())}
        value = symbols.get_symbol(index[source])[member]
        file.seek(symbols["sh_offset"] + index[function] * symbols["sh_entsize"] + offset)
        file.write(value.to_bytes(size, "little"))
