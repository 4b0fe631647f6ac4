"""Empty probes on the functions that pgwarden probes for every statement."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.probes.build import build
from agent.probes.kernel import attach_uprobe
from agent.probes.symbols import ServerBinary

SOURCE = Path(__file__).with_name("noop.bpf.c")
HOT_PROBES = ("on_portal_run", "on_secure_write")


@contextmanager
def noop_probes(binary: Path, major: int = 15) -> Iterator[None]:
    """While it lasts, every backend of ``binary`` enters and leaves an empty program."""
    server = ServerBinary.read(binary, major)
    with tempfile.TemporaryDirectory() as folder, _loaded(Path(folder)) as program:
        attached = [
            attach_uprobe(program, server.path, server.entry(probe).file_offset)
            for probe in HOT_PROBES
        ]
        try:
            yield
        finally:
            for descriptor in attached:
                os.close(descriptor)


@contextmanager
def _loaded(folder: Path) -> Iterator[int]:
    """The program's file descriptor."""
    compiled = build(SOURCE, folder / "noop.bpf.o")
    library = ctypes.CDLL("libbpf.so.1")
    library.bpf_object__open_file.restype = ctypes.c_void_p
    library.bpf_object__find_program_by_name.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(library.bpf_object__open_file(str(compiled).encode(), None))
    try:
        if library.bpf_object__load(handle) != 0:
            raise RuntimeError("the kernel refused the empty probe")
        program = ctypes.c_void_p(library.bpf_object__find_program_by_name(handle, b"noop"))
        yield library.bpf_program__fd(program)
    finally:
        library.bpf_object__close(handle)
