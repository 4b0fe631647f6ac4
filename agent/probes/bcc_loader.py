"""Loads the same C source with bcc, which compiles it on the host.

Slower (seconds) and larger (LLVM in the process), but it needs no object built for us. Debian
packages bcc for the system Python alone; only that one package is taken from there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.probes.errors import RIGHTS, CaptureUnavailable
from agent.probes.headers import HeadersError, provide
from agent.probes.loader import EXIT_PROGRAM, MAPS, PROGRAMS, Loaded

SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")
REMEDY = "apt-get install python3-bpfcc linux-headers-amd64"
STDERR = 2

MAP_CALLS = {
    "LOOKUP": "lookup",
    "INSERT": "insert",
    "DELETE": "delete",
    "RESERVE": "ringbuf_reserve",
    "SUBMIT": "ringbuf_submit",
    "DISCARD": "ringbuf_discard",
    "QUERY": "ringbuf_output",
}
"""What ``compat.bpf.h`` does by macro for libbpf, where bcc wants a method of the map."""
BEFORE_ARGUMENTS = {"QUERY": "nothing, 0, "}
"""Of a call that stands for another one: see ``compat.bpf.h``."""
OWN_INCLUDE = re.compile(r'^#include "(?!compat)(\w+\.bpf\.h)"$', re.MULTILINE)
MAP_CALL = re.compile(rf"\b({'|'.join(MAP_CALLS)})\((\w+), ")


class BccLoader:
    name = "bcc"

    def __init__(self, source: Path, defines: tuple[str, ...] = ()) -> None:
        self._source = source
        self._defines = defines
        self._bcc = import_bcc()
        try:
            provide()
        except HeadersError as error:
            raise CaptureUnavailable(str(error), REMEDY) from error

    def load(self, ring_bytes: int, sessions: int, *, inside: tuple[str, ...] = ()) -> Loaded:
        flags = [
            "-DPGWARDEN_BCC",
            f"-DRING_BYTES={ring_bytes}",
            f"-DSESSIONS={sessions}",
            f"-I{self._source.parent}",
            "-Wno-macro-redefined",
        ]
        flags += [f"-D{each}" for each in self._defines]
        wanted = (*PROGRAMS, *inside)
        if inside:
            flags.append("-DPGWARDEN_NESTED")
        complaints: list[str] = []
        try:
            text = for_bcc(one_text(self._source)).encode()
            with _stderr_to(complaints):
                program = self._bcc.BPF(text=text, cflags=flags)
                programs = {
                    name: program.load_func(
                        name.encode(),
                        self._bcc.BPF.RAW_TRACEPOINT
                        if name == EXIT_PROGRAM
                        else self._bcc.BPF.KPROBE,
                    ).fd
                    for name in wanted
                }
        except Exception as error:  # bcc raises bare Exception
            said = " / ".join("".join(complaints).strip().splitlines())[-1500:]
            remedy = RIGHTS if "ermitted" in f"{error}{said}" else REMEDY
            raise CaptureUnavailable(f"bcc cannot load the probes: {error} ({said})", remedy) from (
                error
            )
        return Loaded(programs, {name: program[name.encode()].map_fd for name in MAPS}, program)

    def unload(self, loaded: Loaded) -> None:
        program: Any = loaded.owner
        program.cleanup()


def one_text(source: Path) -> str:
    """The source with our own headers in place: bcc rewrites no map call in an included file."""
    seen: set[str] = set()

    def include(line: re.Match[str]) -> str:
        name = line[1]
        if name in seen:
            return ""
        seen.add(name)
        return OWN_INCLUDE.sub(include, source.with_name(name).read_text())

    return OWN_INCLUDE.sub(include, source.read_text())


def for_bcc(source: str) -> str:
    """``LOOKUP(sessions, &pid)`` -> ``sessions.lookup(&pid)``."""

    def method(call: re.Match[str]) -> str:
        return f"{call[2]}.{MAP_CALLS[call[1]]}({BEFORE_ARGUMENTS.get(call[1], '')}"

    return MAP_CALL.sub(method, source)


def import_bcc() -> Any:
    """The system's bcc package, and nothing else from its folder: it belongs to another Python
    environment, whose versions of our own dependencies must not leak in."""
    if "bcc" in sys.modules:
        return sys.modules["bcc"]
    start = SYSTEM_PACKAGES / "bcc" / "__init__.py"
    if not start.exists():
        raise CaptureUnavailable("bcc is not installed", REMEDY)
    spec = importlib.util.spec_from_file_location(
        "bcc", start, submodule_search_locations=[str(start.parent)]
    )
    if spec is None or spec.loader is None:
        raise CaptureUnavailable("bcc cannot be imported", REMEDY)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        sys.modules.pop("bcc", None)
        raise CaptureUnavailable(f"bcc cannot be imported: {error}", REMEDY) from error
    return module


@contextlib.contextmanager
def _stderr_to(lines: list[str]) -> Iterator[None]:
    """bcc and clang write to the file descriptor, past ``sys.stderr``."""
    saved = os.dup(STDERR)
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(saved, STDERR)
            os.close(saved)
            capture.seek(0)
            lines.append(capture.read().decode(errors="replace"))
