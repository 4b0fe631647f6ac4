"""A server program of our own to change: what other builds are like, and what an upgrade does."""

import os
import shutil
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tests.live.postgres import server_folder

PROGRAMS = ("initdb", "pg_ctl", "postgres")
VALUE_OFFSET = 8
"""Of ``st_value`` in an Elf64_Sym."""


def copy_programs(folder: Path) -> Path:
    """Debian's programs; the server finds its libraries where Debian put them."""
    folder.mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copy2(server_folder() / "bin" / name, folder / name)
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and str(each).startswith("/tmp/"):
            each.chmod(each.stat().st_mode | 0o055)
    return folder


def upgrade_in_place(program: Path) -> None:
    """As a package manager does it: another file by the same name."""
    fresh = program.with_suffix(".new")
    shutil.copy2(program, fresh)
    os.replace(fresh, program)


def bypass(program: Path, function: str, instead: str) -> None:
    """Let the exported ``function`` lead to ``instead``, which never runs, as on a build that calls
    an inlined copy: the server itself works as before."""
    with program.open("r+b") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym")
        index = {symbol.name: number for number, symbol in enumerate(symbols.iter_symbols())}
        target = symbols.get_symbol(index[instead])["st_value"]
        file.seek(symbols["sh_offset"] + index[function] * symbols["sh_entsize"] + VALUE_OFFSET)
        file.write(target.to_bytes(8, "little"))


def hide(program: Path, function: str) -> None:
    """Take the symbol's name away."""
    data = program.read_bytes()
    name = b"\0" + function.encode() + b"\0"
    assert data.count(name) == 1
    program.write_bytes(data.replace(name, b"\0" + b"_" * len(function) + b"\0"))
