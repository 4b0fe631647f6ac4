"""Loads the prebuilt object with the system's libbpf, through ctypes: 15 ms and a few megabytes."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from agent.probes.errors import CaptureUnavailable, kernel_refusal
from agent.probes.kernel import BPF_TRACE_UPROBE_MULTI
from agent.probes.loader import CALL_PROGRAM, MAPS, NESTED_PROGRAMS, PROGRAMS, Loaded

LIBRARY = "libbpf.so.1"
LOG_LINE_BYTES = 4096
LOG_LINES = 400
WARN = 0
"""``LIBBPF_WARN``: also the level at which the verifier's log arrives."""

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class LibbpfLoader:
    name = "libbpf"

    def __init__(self, object_path: Path) -> None:
        if not object_path.exists():
            raise CaptureUnavailable(
                f"the compiled probes are missing: {object_path.name}",
                "compile them: python -m agent.probes.build (needs clang and libbpf-dev)",
            )
        try:
            self._library: Any = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError as error:
            raise CaptureUnavailable(
                f"{LIBRARY} cannot be loaded: {error}", "apt-get install libbpf1"
            ) from error
        self._path = object_path
        self._log: list[str] = []
        self._declare()

    def load(self, ring_bytes: int, sessions: int, *, inside: tuple[str, ...] = ()) -> Loaded:
        library = self._library
        self._log.clear()
        handle = library.bpf_object__open_file(str(self._path).encode(), None)
        if not handle:
            raise CaptureUnavailable(
                f"{self._path.name} cannot be opened: {self._complaint()}",
                "compile it again: python -m agent.probes.build",
            )
        try:
            for name, entries in (("records", ring_bytes), ("sessions", sessions)):
                map_handle = library.bpf_object__find_map_by_name(handle, name.encode())
                library.bpf_map__set_max_entries(map_handle, entries)
            for program in NESTED_PROGRAMS:
                if program not in inside:
                    library.bpf_program__set_autoload(self._program(handle, program), False)
            if CALL_PROGRAM in inside:
                # A kernel that cannot attach it to many places at once takes no notice of this.
                call = self._program(handle, CALL_PROGRAM)
                library.bpf_program__set_expected_attach_type(call, BPF_TRACE_UPROBE_MULTI)
            result = library.bpf_object__load(handle)
            if result < 0:
                refusal = kernel_refusal("load the probes", -result)
                raise CaptureUnavailable(f"{refusal.reason} ({self._complaint()})", refusal.remedy)
            wanted = (*PROGRAMS, *inside)
            programs = {
                name: library.bpf_program__fd(self._program(handle, name)) for name in wanted
            }
            return Loaded(programs, self._maps(handle), handle)
        except CaptureUnavailable:
            library.bpf_object__close(handle)
            raise

    def unload(self, loaded: Loaded) -> None:
        self._library.bpf_object__close(loaded.owner)

    def _program(self, handle: int, name: str) -> int:
        program: int = self._library.bpf_object__find_program_by_name(handle, name.encode())
        return program

    def _maps(self, handle: int) -> dict[str, int]:
        library = self._library
        return {
            name: library.bpf_map__fd(library.bpf_object__find_map_by_name(handle, name.encode()))
            for name in MAPS
        }

    def _declare(self) -> None:
        library, pointer, text = self._library, ctypes.c_void_p, ctypes.c_char_p
        declarations = {
            "bpf_object__open_file": (pointer, [text, pointer]),
            "bpf_object__find_map_by_name": (pointer, [pointer, text]),
            "bpf_map__set_max_entries": (ctypes.c_int, [pointer, ctypes.c_uint32]),
            "bpf_object__load": (ctypes.c_int, [pointer]),
            "bpf_object__find_program_by_name": (pointer, [pointer, text]),
            "bpf_program__fd": (ctypes.c_int, [pointer]),
            "bpf_program__set_autoload": (ctypes.c_int, [pointer, ctypes.c_bool]),
            "bpf_program__set_expected_attach_type": (ctypes.c_int, [pointer, ctypes.c_int]),
            "bpf_map__fd": (ctypes.c_int, [pointer]),
            "bpf_object__close": (None, [pointer]),
            "libbpf_set_print": (pointer, [_PRINT]),
        }
        for name, (result, arguments) in declarations.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        # Kept in self: libbpf calls it as long as it lives.
        self._print = _PRINT(self._collect)
        library.libbpf_set_print(self._print)

    def _collect(self, level: int, text_format: bytes, arguments: int) -> int:
        """libbpf writes to stderr otherwise, in the middle of whatever the agent prints."""
        if level == WARN and len(self._log) < LOG_LINES:
            line = ctypes.create_string_buffer(LOG_LINE_BYTES)
            # On x86-64 a va_list is passed as a pointer, so it can go through ctypes.
            ctypes.CDLL(None).vsnprintf(
                line, ctypes.c_size_t(LOG_LINE_BYTES), text_format, ctypes.c_void_p(arguments)
            )
            self._log.append(line.value.decode(errors="replace").strip())
        return 0

    def _complaint(self) -> str:
        return " / ".join(line for line in self._log if line)[-1500:] or "no reason given"
