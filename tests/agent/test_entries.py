"""A probe goes behind the ``endbr64`` that some compilers put first."""

import subprocess
from io import BytesIO

import pytest
from elftools.elf.elffile import ELFFile

from agent.probes.symbols import ENDBR64, entry_at, symbol_table

SOURCE = "int twice(int n) { return 2 * n; }"


def compiled(folder, protection):
    source, made = folder / "made.c", folder / f"{protection}.so"
    source.write_text(SOURCE)
    flags = ["-O2", "-fPIC", "-shared", f"-fcf-protection={protection}"]
    subprocess.run(["clang", *flags, "-o", str(made), str(source)], check=True)
    return made.read_bytes()


@pytest.mark.parametrize(("protection", "skipped"), [("full", len(ENDBR64)), ("none", 0)])
def test_the_entry_is_the_first_instruction_that_does_something(tmp_path, protection, skipped):
    program = compiled(tmp_path, protection)
    elf = ELFFile(BytesIO(program))
    address = int(symbol_table(elf).get_symbol("twice")["st_value"])
    entry = entry_at(elf, address)
    assert entry.address == address + skipped
    at = entry.file_offset
    assert program[at - skipped : at] == ENDBR64[:skipped]
    assert program[at : at + len(ENDBR64)] != ENDBR64
