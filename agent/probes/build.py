"""Compiles the probes: ``python -m agent.probes.build``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("postgres.bpf.c")
OBJECT = Path(__file__).with_name("postgres.bpf.o")
MULTIARCH_INCLUDES = Path("/usr/include/x86_64-linux-gnu")
"""clang looks there for a host program, not for one that runs in the kernel."""


class BuildError(Exception):
    """The probes cannot be compiled; the text says why and what to install."""


def build(
    source: Path = SOURCE,
    output: Path = OBJECT,
    clang: str = "clang",
    defines: tuple[str, ...] = (),
) -> Path:
    """Write ``output`` and return it. Raises BuildError."""
    if shutil.which(clang) is None:
        raise BuildError("clang is missing: apt-get install clang llvm libbpf-dev")
    command = [clang, "-target", "bpf", "-O2", "-g", "-Wall", "-Werror", "-D__TARGET_ARCH_x86"]
    if MULTIARCH_INCLUDES.is_dir():
        command += ["-idirafter", str(MULTIARCH_INCLUDES)]
    command += [f"-D{each}" for each in defines]
    # A half-written object must never be taken for a good one.
    unfinished = output.with_suffix(".tmp")
    done = subprocess.run(
        [*command, "-c", str(source), "-o", str(unfinished)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        hint = ""
        if "bpf_helpers.h" in done.stderr or "asm/types.h" in done.stderr:
            hint = "\napt-get install libbpf-dev linux-libc-dev"
        raise BuildError(f"clang cannot compile {source.name}:\n{done.stderr}{hint}")
    _strip(unfinished)
    unfinished.replace(output)
    return output


def _strip(path: Path) -> None:
    """Drop DWARF, keep BTF: libbpf needs only the latter. Without llvm-strip it stays larger."""
    if shutil.which("llvm-strip"):
        subprocess.run(["llvm-strip", "-g", str(path)], check=False, capture_output=True)


def main() -> int:
    try:
        output = build()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{output.name}: {output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
