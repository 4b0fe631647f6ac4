"""A loader brings the BPF program into the kernel; everything else is shared."""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agent.probes.build import OBJECT, SOURCE
from agent.probes.errors import CaptureUnavailable
from agent.probes.symbols import COMMAND_PROGRAM, HELD_PROBES, NESTED_PROBES, PROBES

EXIT_PROGRAM = "on_exit"
EXIT_FUNCTION = "sched_process_exit"
"""A tracepoint of the kernel, not a function of the server."""
PROGRAMS = (*PROBES, EXIT_PROGRAM)
CALL_PROGRAM = "on_call"
NESTED_PROGRAMS = (*NESTED_PROBES, *HELD_PROBES, CALL_PROGRAM)
COMMAND_PROGRAMS = (COMMAND_PROGRAM,)
MAPS = (
    "records",
    "urgents",
    "configs",
    "judges",
    "sessions",
    "clusters",
    "functions",
    "losses",
    "texts",
    "classes",
    "allowances",
    "aggregates",
)

LoaderKind = Literal["auto", "libbpf", "bcc"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Programs and maps of one instance, by name, as file descriptors that ``close`` ends."""

    programs: dict[str, int]
    maps: dict[str, int]
    owner: object = field(repr=False)


def programs_inside(*, commands: bool, nested: bool) -> tuple[str, ...]:
    """Those for what runs inside statements: for ``commands`` that last, or for all (``nested``,
    which holding needs as well)."""
    if nested:
        return NESTED_PROGRAMS
    return COMMAND_PROGRAMS if commands else ()


class Loader(Protocol):
    """``name`` says which one: ``libbpf`` or ``bcc``."""

    name: str

    def load(self, ring_bytes: int, sessions: int, *, inside: tuple[str, ...] = ()) -> Loaded:
        """A fresh instance of the program, with those of NESTED_PROGRAMS that ``inside`` names.
        Raises CaptureUnavailable."""
        ...

    def unload(self, loaded: Loaded) -> None: ...


def open_loader(kind: LoaderKind = "auto") -> Loader:
    """``auto``: the prebuilt object with libbpf, else bcc. Raises CaptureUnavailable."""
    _require_x86_64()
    if kind == "bcc":
        return _bcc()
    try:
        return _libbpf()
    except CaptureUnavailable as first:
        if kind == "libbpf":
            raise
        try:
            return _bcc()
        except CaptureUnavailable as second:
            raise CaptureUnavailable(
                f"neither loader works: libbpf: {first.reason}; bcc: {second.reason}", first.remedy
            ) from second


def _require_x86_64() -> None:
    machine = platform.machine()
    if machine != "x86_64" or struct.calcsize("P") != 8:
        raise CaptureUnavailable(
            f"eBPF capture knows PostgreSQL's layout on x86-64 only, this is {machine}",
            "use the pgaudit source on this host",
        )


def _libbpf() -> Loader:
    from agent.probes.libbpf import LibbpfLoader

    return LibbpfLoader(OBJECT)


def _bcc() -> Loader:
    # Imported late: bcc brings LLVM, 100 MB of memory that the other loader does without.
    from agent.probes.bcc_loader import BccLoader

    return BccLoader(SOURCE)
