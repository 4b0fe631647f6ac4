"""What a server binary exports, and where a probe goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.hash import ELFHashTable, GNUHashTable

from agent.probes.errors import RIGHTS, CaptureUnavailable
from agent.probes.layout import CONFIG
from agent.probes.layouts import layout_for

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

GLOBALS = (
    "MyProcPort",
    "MyBEEntry",
    "MyStartTimestamp",
    "PgStartTime",
    "application_name",
    "debug_query_string",
    "am_walsender",
    "ClientAuthInProgress",
)


NOT_EVERYWHERE = frozenset({"MyBEEntry"})
"""Static in PostgreSQL 12 and 13, where it stays unknown when the client's message arrived."""


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

    def entry(self, program: str) -> Entry:
        return dict(self.entries)[program]

    def address(self, name: str) -> int:
        return dict(self.addresses)[name]

    def config(self) -> bytes:
        """``struct config`` of the BPF object."""
        layout = layout_for(self.version)
        entries, addresses = dict(self.entries), dict(self.addresses)
        return CONFIG.pack(
            *(entries[program].address for program in PROBES),
            *(addresses[name] for name in GLOBALS),
            layout.port_raddr,
            layout.port_database_name,
            layout.port_user_name,
            layout.portal_source_text,
            layout.status_activity_start,
            0,
        )

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
                return cls(
                    path=path,
                    device=status.st_dev,
                    inode=status.st_ino,
                    build_id=_build_id(elf),
                    version=version,
                    entries=tuple(
                        (program, _entry(elf, symbols[function]))
                        for program, function in PROBES.items()
                    ),
                    addresses=tuple((name, symbols[name]) for name in GLOBALS),
                )
        except PermissionError as error:
            raise CaptureUnavailable(f"cannot read the server program: {error}", RIGHTS) from error
        except OSError as error:
            raise CaptureUnavailable(f"cannot read the server program {path}: {error}") from error
        except ELFError as error:
            raise CaptureUnavailable(f"{path} is not an ELF program: {error}") from error


def _exported(elf: Any, path: Path) -> dict[str, int]:
    table = elf.get_section_by_name(".gnu.hash") or elf.get_section_by_name(".hash")
    if not isinstance(table, GNUHashTable | ELFHashTable):
        raise CaptureUnavailable(f"{path} has no table of exported symbols")
    wanted = (*PROBES.values(), *GLOBALS)
    found = {name: symbol for name in wanted if (symbol := table.get_symbol(name))}
    missing = [name for name in wanted if name not in found and name not in NOT_EVERYWHERE]
    if missing:
        raise CaptureUnavailable(
            f"{path} does not export {', '.join(missing)}",
            "use a server built with exported symbols, as every packaged PostgreSQL is",
        )
    return {name: int(found[name]["st_value"]) if name in found else 0 for name in wanted}


def _entry(elf: Any, address: int) -> Entry:
    for segment in elf.iter_segments("PT_LOAD"):
        start = int(segment["p_vaddr"])
        if start <= address < start + int(segment["p_filesz"]):
            offset = address - start + int(segment["p_offset"])
            elf.stream.seek(offset)
            skip = len(ENDBR64) if elf.stream.read(len(ENDBR64)) == ENDBR64 else 0
            return Entry(address + skip, offset + skip)
    raise CaptureUnavailable(f"no segment of the program holds the address {address:#x}")


def _build_id(elf: Any) -> str:
    section = elf.get_section_by_name(".note.gnu.build-id")
    for note in section.iter_notes() if section else ():
        if note["n_type"] == "NT_GNU_BUILD_ID":
            return str(note["n_desc"])
    return ""
