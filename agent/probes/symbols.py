"""What a server binary exports, and where a probe goes."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.hash import ELFHashTable, GNUHashTable

from agent.probes.calls import Call, calls_of
from agent.probes.errors import RIGHTS, CaptureUnavailable
from agent.probes.layout import BYTE_DIGIT, BYTE_JOINS, CONFIG, Aggregation, Nested
from agent.probes.layouts import layout_for
from agent.probes.types import TYPE_KINDS

ENDBR64 = b"\xf3\x0f\x1e\xfa"
"""A probe on it is single-stepped (9 us a hit), one on the ``push`` behind it emulated (1 us)."""

PROBES = {
    "on_portal_run": "PortalRun",
    "on_secure_write": "secure_write",
    "on_report_appname": "pgstat_report_appname",
    "on_fastpath": "HandleFunctionRequest",
    "on_replication": "exec_replication_command",
}
"""Program in the BPF object, and the function whose entry it watches."""
NESTED_PROBES = {
    "on_executor_start": "standard_ExecutorStart",
    "on_process_utility": "standard_ProcessUtility",
}
"""Attached where what runs inside statements is told, or may be held."""
HELD_PROBES = {"on_portal_fetch": "PortalRunFetch"}
"""Attached where statements may be held. They tell of nothing but what is."""
COMMAND_PROGRAM = "on_process_utility"
"""Attached alone where only commands inside statements are told."""
TELLING_PROBES = PROBES | NESTED_PROBES
ALL_PROBES = TELLING_PROBES | HELD_PROBES
GLOBALS = (
    "MyProcPort",
    "MyStartTimestamp",
    "MyProcPid",
    "PgStartTime",
    "application_name",
    "debug_query_string",
    "am_walsender",
    "ClientAuthInProgress",
    "ActivePortal",
    "error_context_stack",
)


STATEMENT_START = "GetCurrentStatementStartTimestamp"
"""Exported everywhere, and returns a static variable: when the client's message arrived."""
LOAD = re.compile(rb"\x48\x8b\x05(.{4})", re.DOTALL)
"""``mov disp32(%rip),%rax``."""
LONG_JUMP, SHORT_JUMP = 0xE9, 0xEB
"""Their distance, four bytes or one, counts from the next instruction."""
JUMPS = 4
"""In a row; more than any compiler makes."""
GETTER_BYTES = 32
RETURN = b"\xc3"


def _byte_class(byte: int) -> int:
    character = chr(byte)
    if character.isdigit() and byte < 0x80:
        return BYTE_DIGIT
    joins = byte >= 0x80 or character.isalpha() or character in "_$.\"'\\"
    return BYTE_JOINS if joins else 0


BYTE_CLASSES = bytes(map(_byte_class, range(256)))


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the probe of one function goes: behind an ``endbr64``."""

    address: int
    file_offset: int


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """One ``postgres`` program. Device and inode say which: uprobes bind to the inode."""

    path: Path
    device: int
    inode: int
    build_id: str
    version: int
    entries: tuple[tuple[str, Entry], ...]
    """By program name."""
    addresses: tuple[tuple[str, int], ...]
    """Virtual addresses of GLOBALS."""
    statement_start: int
    """Virtual address of ``stmtStartTimestamp``."""
    calls: tuple[tuple[Call, Entry], ...] = ()
    """Functions that may be probed themselves; several may have one entry."""
    missing: tuple[Call, ...] = ()
    """Those that a server of this version has, and this program does not export."""

    def entry(self, program: str) -> Entry:
        return dict(self.entries)[program]

    def address(self, name: str) -> int:
        return dict(self.addresses)[name]

    def config(
        self,
        aggregate: Aggregation = Aggregation.OVERLOAD,
        *,
        nested: Nested = Nested.NONE,
        inside: bool = False,
        parameters: bool = False,
    ) -> bytes:
        """``struct config`` of the BPF object, with a new secret key for texts."""
        layout = layout_for(self.version)
        entries = dict(self.entries)
        return CONFIG.pack(
            *(entries[program].address for program in ALL_PROBES),
            *self._globals(),
            secrets.randbits(64),
            secrets.randbits(64),
            layout.port_raddr,
            layout.port_database_name,
            layout.port_user_name,
            layout.portal_source_text,
            layout.portal_statements,
            layout.list_cells,
            layout.planned_utility,
            layout.command_utility,
            layout.planned_relations,
            layout.planned_tree,
            layout.planned_results,
            layout.changed_parts,
            0,
            aggregate,
            nested,
            inside,
            layout.context_third,
            layout.portal_parameters,
            layout.list_parameters,
            parameters,
            layout.portal_at_start,
            0,
            BYTE_CLASSES,
            TYPE_KINDS,
        )

    def _globals(self) -> tuple[int, ...]:
        """As ``struct config`` has them: the variable without a name stands second."""
        first, *others = (address for _, address in self.addresses)
        return first, self.statement_start, *others

    @classmethod
    def read(cls, path: Path, version: int) -> ServerBinary:
        """``path`` may lead through ``/proc/PID/root`` or be ``/proc/PID/exe``.

        Raises CaptureUnavailable for what is no x86-64 server program of a known version.
        """
        layout_for(version)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                elf = ELFFile(file)
                if elf.get_machine_arch() != "x64":
                    raise CaptureUnavailable(f"{path} is not an x86-64 program")
                symbols = _exported(elf, path)
                calls = call_entries(elf, version)
                return cls(
                    path=path,
                    device=status.st_dev,
                    inode=status.st_ino,
                    build_id=_build_id(elf),
                    version=version,
                    entries=tuple(
                        (program, entry_at(elf, symbols[function]))
                        for program, function in ALL_PROBES.items()
                    ),
                    addresses=tuple((name, symbols[name]) for name in GLOBALS),
                    statement_start=_returned(elf, symbols[STATEMENT_START], path),
                    calls=tuple((call, entry) for call, entry in calls if entry),
                    missing=tuple(call for call, entry in calls if not entry),
                )
        except PermissionError as error:
            raise CaptureUnavailable(f"cannot read the server program: {error}", RIGHTS) from error
        except OSError as error:
            raise CaptureUnavailable(f"cannot read the server program {path}: {error}") from error
        except ELFError as error:
            raise CaptureUnavailable(f"{path} is not an ELF program: {error}") from error


def call_entries(elf: Any, version: int) -> list[tuple[Call, Entry | None]]:
    """Where the functions of ``calls_of`` begin; None: they cannot be found in this program."""
    table = symbol_table(elf)
    found: list[tuple[Call, Entry | None]] = []
    for call in calls_of(version):
        symbol = table.get_symbol(call.symbol) if table is not None else None
        entry = None
        if symbol:
            with suppress(CaptureUnavailable):  # it leads out of the program
                entry = _landing(elf, int(symbol["st_value"]))
        found.append((call, entry))
    return found


def symbol_table(elf: Any) -> GNUHashTable | ELFHashTable | None:
    table = elf.get_section_by_name(".gnu.hash") or elf.get_section_by_name(".hash")
    return table if isinstance(table, GNUHashTable | ELFHashTable) else None


def _landing(elf: Any, address: int) -> Entry | None:
    """Where a function really begins: some are nothing but a jump to the one that does the work,
    and a backend that is held at a jump stands behind it. None: nobody knows."""
    for _ in range(JUMPS):
        entry = entry_at(elf, address)
        code = _code(elf, entry.file_offset, 5)
        if code[0] == LONG_JUMP:
            address = entry.address + 5 + int.from_bytes(code[1:5], "little", signed=True)
        elif code[0] == SHORT_JUMP:
            address = entry.address + 2 + int.from_bytes(code[1:2], "little", signed=True)
        else:
            return entry
    return None


def _exported(elf: Any, path: Path) -> dict[str, int]:
    table = symbol_table(elf)
    if table is None:
        raise CaptureUnavailable(f"{path} has no table of exported symbols")
    wanted = (*ALL_PROBES.values(), *GLOBALS, STATEMENT_START)
    found = {name: symbol for name in wanted if (symbol := table.get_symbol(name))}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise CaptureUnavailable(
            f"{path} does not export {', '.join(missing)}",
            "use a server built with exported symbols, as every packaged PostgreSQL is",
        )
    return {name: int(found[name]["st_value"]) for name in wanted}


def entry_at(elf: Any, address: int) -> Entry:
    """Of the function at this virtual address. Raises CaptureUnavailable outside the program."""
    offset = _file_offset(elf, address)
    skip = len(ENDBR64) if _code(elf, offset, len(ENDBR64)) == ENDBR64 else 0
    return Entry(address + skip, offset + skip)


def _returned(elf: Any, getter: int, path: Path) -> int:
    """The variable that a function without a condition returns: its last load before it returns.

    Some builds set up a frame first, or put an ``endbr64`` in front.
    """
    code = _code(elf, _file_offset(elf, getter), GETTER_BYTES)
    loads = [load for load in LOAD.finditer(code) if RETURN not in code[: load.start()]]
    if not loads:
        raise CaptureUnavailable(
            f"{path} keeps its statement's start where nobody has looked for it yet",
            "use a server built by a C compiler at its usual optimisation for x86-64",
        )
    distance = int.from_bytes(loads[-1][1], "little", signed=True)
    return getter + loads[-1].end() + distance


def _code(elf: Any, file_offset: int, count: int) -> bytes:
    elf.stream.seek(file_offset)
    return bytes(elf.stream.read(count))


def _file_offset(elf: Any, address: int) -> int:
    for segment in elf.iter_segments("PT_LOAD"):
        start = int(segment["p_vaddr"])
        if start <= address < start + int(segment["p_filesz"]):
            return int(address - start + int(segment["p_offset"]))
    raise CaptureUnavailable(f"no segment of the program holds the address {address:#x}")


def _build_id(elf: Any) -> str:
    section = elf.get_section_by_name(".note.gnu.build-id")
    for note in section.iter_notes() if section else ():
        if note["n_type"] == "NT_GNU_BUILD_ID":
            return str(note["n_desc"])
    return ""
