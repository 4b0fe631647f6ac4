"""One header owns each struct; Python's formats must agree with it byte for byte."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from agent.probes import layout
from agent.probes.loader import SOURCE

HEADER = SOURCE.with_name("postgres.bpf.h")
HEAD_FIELDS = 4


def expected() -> dict[str, int]:
    """Size of each struct and offset of each member, as Python believes."""
    numbers = {}
    for name, (members, fields) in layout.FIELDS.items():
        codes = expand(members)
        numbers[name] = struct.calcsize("<" + members)
        at = 0
        for field in fields:
            numbers[f"{name}.{field}"] = at
            taken = HEAD_FIELDS if field == "head" else 1
            at += struct.calcsize("<" + "".join(codes[:taken]))
            del codes[:taken]
        assert not codes, name
    return numbers


def expand(members: str) -> list[str]:
    """``2I3s`` -> ``I``, ``I``, ``3s``."""
    codes, count = [], ""
    for character in members:
        if character.isdigit():
            count += character
        else:
            codes += [f"{count}s"] if character == "s" else [character] * int(count or 1)
            count = ""
    return codes


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict[str, int]:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed: ./run setup installs it")
    folder: Path = tmp_path_factory.mktemp("layout")
    lines = []
    for name, (_, fields) in layout.FIELDS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        lines += [
            f'printf("{name}.{field} %zu\\n", offsetof(struct {name}, {field}));'
            for field in fields
        ]
    for constant in ("NAME_BYTES", "TEXT_HUGE", "RESPONSE_SMALL", "RESPONSE_MEDIUM",
                     "RESPONSE_LARGE", "RESPONSE_HEAD", "CARRY_BYTES", "SEND_BUFFER_BYTES",
                     "LOSSES"):  # fmt: skip
        lines.append(f'printf("{constant} %zu\\n", (size_t){constant});')
    for kind in layout.RecordKind:
        lines.append(f'printf("RECORD_{kind.name} %zu\\n", (size_t)RECORD_{kind.name});')
    for state in layout.TextState:
        lines.append(f'printf("TEXT_{state.name} %zu\\n", (size_t)TEXT_{state.name});')
    source = folder / "sizes.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/types.h>\n"
        f'#include "{HEADER}"\nint main(void) {{\n' + "\n".join(lines) + "\nreturn 0; }\n"
    )
    program = folder / "sizes"
    subprocess.run(["clang", str(source), "-o", str(program)], check=True)
    output = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in map(str.split, output.splitlines())}


def test_python_reads_every_struct_where_the_header_puts_it(compiled):
    assert {name: compiled[name] for name in expected()} == expected()


def test_python_knows_the_headers_constants(compiled):
    assert compiled["NAME_BYTES"] == layout.NAME_BYTES
    assert compiled["TEXT_HUGE"] == layout.TEXT_HUGE
    assert compiled["RESPONSE_SMALL"] == layout.RESPONSE_SMALL
    assert compiled["RESPONSE_MEDIUM"] == layout.RESPONSE_MEDIUM
    assert compiled["RESPONSE_LARGE"] == layout.RESPONSE_LARGE
    assert compiled["RESPONSE_HEAD"] == layout.RESPONSE_HEAD
    assert compiled["CARRY_BYTES"] == layout.CARRY_BYTES
    assert compiled["SEND_BUFFER_BYTES"] == layout.SEND_BUFFER_BYTES
    assert compiled["LOSSES"] == len(layout.LOSS_REASONS)
    for kind in layout.RecordKind:
        assert compiled[f"RECORD_{kind.name}"] == kind
    for state in layout.TextState:
        assert compiled[f"TEXT_{state.name}"] == state


def test_no_struct_has_hidden_padding(compiled):
    for name, (members, _) in layout.FIELDS.items():
        assert struct.calcsize("@" + members) - struct.calcsize("<" + members) == 0, name
