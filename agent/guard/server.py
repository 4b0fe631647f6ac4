"""What the guard must know of a running postmaster to act on its backends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.hash import ELFHashTable, GNUHashTable

from agent.probes.errors import CaptureUnavailable
from agent.probes.symbols import call_entries

ENTRIES = (
    "PortalRun",
    "PortalRunFetch",
    "standard_ProcessUtility",
    "standard_ExecutorStart",
    "HandleFunctionRequest",
    "exec_replication_command",
    "DoCopy",
)
"""Functions at whose entry a redirect is sound: no lock other than heavyweight ones is held."""

REQUIRED = ("MyStartTimestamp", "MyProcPort", "am_walsender", "CritSectionCount", "ThrowErrorData")


@dataclass(frozen=True, slots=True)
class ErrorData:
    """Byte offsets in PostgreSQL's struct of that name; the level, an int, comes first."""

    error_level: int
    """What ERROR is."""
    sqlstate: int
    message: int
    hint: int


_WITH_FUNCNAME_FLAG = ErrorData(error_level=20, sqlstate=56, message=64, hint=88)
_SINCE_14 = ErrorData(error_level=21, sqlstate=48, message=56, hint=80)
ERROR_DATA = {
    **dict.fromkeys((12, 13), _WITH_FUNCNAME_FLAG),
    **dict.fromkeys((14, 15, 16, 17, 18), _SINCE_14),
}
"""By major version: read from the code of ``ThrowErrorData`` in each, and each proven on a running
server. A version that is missing here is refused rather than guessed.
"""

PROC = Path("/proc")
FIRST_INSTRUCTION_BYTES = 15
"""The longest x86 instruction: the probe's own first instruction has run when a hold begins."""


class UnknownServerError(Exception):
    """This server cannot be guarded by redirect; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A postmaster and where its backends keep what we read.

    Backends are forked without exec, so they share the postmaster's address space layout: the
    addresses are found once for all of them.
    """

    postmaster_pid: int
    started_ticks: int
    """Field 22 of ``/proc/PID/stat``."""
    version: int
    device: int
    inode: int
    addresses: tuple[tuple[str, int], ...]
    """Absolute, in every backend of this postmaster."""
    calls: frozenset[int] = frozenset()
    """Where the functions begin that are probed themselves (agent/probes/calls.py)."""

    def is_entry(self, instruction_pointer: int) -> bool:
        """Whether a backend that is held there stands at the entry of a probed function."""
        places = (address for name, address in self.addresses if name in ENTRIES)
        return any(
            0 <= instruction_pointer - place <= FIRST_INSTRUCTION_BYTES
            for place in (*places, *self.calls)
        )

    def address(self, name: str) -> int:
        for known, address in self.addresses:
            if known == name:
                return address
        raise UnknownServerError(f"the server's binary does not export {name}")

    @classmethod
    def running(cls, postmaster_pid: int, version: int) -> Server:
        """Read symbols and load address of a live postmaster.

        Raises UnknownServerError when the process is gone, is no x86-64 ELF program or lacks a
        symbol that every check depends on.
        """
        executable = PROC / str(postmaster_pid) / "exe"
        try:
            identity = executable.stat()
            offsets = exported(executable, (*REQUIRED, *ENTRIES))
            calls = called(executable, version)
            bias = load_bias(postmaster_pid, identity.st_ino)
            started = start_ticks(postmaster_pid)
        except OSError as error:
            raise UnknownServerError(f"postmaster {postmaster_pid}: {error}") from error
        missing = [name for name in REQUIRED if name not in offsets]
        if missing:
            raise UnknownServerError(f"postmaster {postmaster_pid} exports no {', '.join(missing)}")
        return cls(
            postmaster_pid=postmaster_pid,
            started_ticks=started,
            version=version,
            device=identity.st_dev,
            inode=identity.st_ino,
            addresses=tuple((name, bias + offset) for name, offset in offsets.items()),
            calls=frozenset(bias + address for address in calls),
        )


def exported(executable: Path, names: Iterable[str]) -> dict[str, int]:
    """Virtual addresses of the exported symbols among ``names``."""
    try:
        with executable.open("rb") as file:
            elf = ELFFile(file)
            if elf.get_machine_arch() != "x64":
                raise UnknownServerError(f"{executable} is not an x86-64 program")
            table = elf.get_section_by_name(".gnu.hash") or elf.get_section_by_name(".hash")
            if not isinstance(table, GNUHashTable | ELFHashTable):
                raise UnknownServerError(f"{executable} has no table of exported symbols")
            symbols = {name: table.get_symbol(name) for name in names}
    except ELFError as error:
        raise UnknownServerError(f"{executable} is not an ELF program: {error}") from error
    return {name: int(symbol["st_value"]) for name, symbol in symbols.items() if symbol}


def called(executable: Path, version: int) -> frozenset[int]:
    """Virtual addresses at which the functions that are probed themselves begin."""
    try:
        with executable.open("rb") as file:
            found = call_entries(ELFFile(file), version)
    except ELFError as error:
        raise UnknownServerError(f"{executable} is not an ELF program: {error}") from error
    except CaptureUnavailable as error:
        raise UnknownServerError(str(error)) from error
    return frozenset(entry.address for _, entry in found if entry)


def load_bias(pid: int, inode: int) -> int:
    """Where the program's first page was mapped; symbol addresses count from there.

    The linker gives position-independent programs a first segment at offset and address 0.
    """
    for line in (PROC / str(pid) / "maps").read_text().splitlines():
        span, _permissions, offset, _device, mapped_inode, *_path = line.split()
        if int(mapped_inode) == inode and int(offset, 16) == 0:
            start = int(span.split("-")[0], 16)
            if start < 0x10000000:
                raise UnknownServerError("the server was not built position-independent")
            return start
    raise UnknownServerError(f"process {pid} does not map its own program")


def start_ticks(pid: int) -> int:
    return int(stat_fields(pid)[19])


def stat_fields(pid: int) -> list[str]:
    """Fields of ``/proc/PID/stat`` from the state on; the name before may hold any character."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
