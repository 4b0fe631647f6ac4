"""Deny at a function's entry: the held backend raises PostgreSQL's own permission error.

The backend stands at the entry of a probed function. Its registers are set as if the caller had
called ``aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_DATABASE, text)`` instead. That function never
returns: it raises SQLSTATE 42501 with our text, the transaction aborts as for any error and the
session lives on.
"""

from __future__ import annotations

import struct

from agent.guard.memory import Registers, Tracee, read_memory, write_memory
from agent.guard.server import ENTRIES, OBJECT_DATABASE, Server, UnknownServerError

ACLCHECK_NO_PRIV = 1
MESSAGE_BYTES = 900
"""Longer reasons are cut; PostgreSQL would take more, a terminal line would not."""
RED_ZONE_BYTES = 128
"""The ABI lets a function use this much below the stack pointer."""
FIRST_INSTRUCTION_BYTES = 15
"""The longest x86 instruction: the probe's own first instruction has run when the hold begins."""
NO_SYSTEM_CALL = 2**64 - 1


class RedirectError(Exception):
    """The backend was left as it was; the text says why."""


def denial(database: str, rule_id: str, title: str, contact: str) -> bytes:
    """What follows "permission denied for database " at the client.

    ASCII only: the text goes out in the database's encoding, which we do not know here, and a
    byte that is invalid in it would turn the refusal into an encoding error.
    """
    reason = f"(blocked by pgwarden: rule {rule_id}: {title}"
    reason += f"; ask {contact})" if contact else ")"
    text = f"{database} {reason}" if database else reason
    plain = "".join(character if character.isprintable() else " " for character in text)
    cut = plain.encode("ascii", "replace")
    return cut if len(cut) <= MESSAGE_BYTES else cut[: MESSAGE_BYTES - 4] + b"...)"


def aim(registers: Registers, target: int, object_type: int, message: bytes) -> tuple[int, bytes]:
    """Change ``registers`` into a call of ``target``; returns where to write which bytes.

    Where the first instruction was ``push %rbp`` the probe has moved the stack pointer already, so
    its present alignment says nothing. The new one is computed afresh: at a function's entry it is
    8 below a multiple of 16, as after a call. The string lies above it, out of the callee's way,
    and below the caller's frame.
    """
    text = message + b"\0"
    address = registers.rsp - RED_ZONE_BYTES - len(text)
    # The callee never returns; a zero return address makes sure that a mistake is a clean crash
    # of one known cause and not a silent execution of the denied statement.
    top = (address & ~0xF) - 8
    block = struct.pack("<Q", 0) + bytes(address - top - 8) + text
    registers.rsp = top
    registers.rip = target
    registers.rdi = ACLCHECK_NO_PRIV
    registers.rsi = object_type
    registers.rdx = address
    registers.rax = 0
    registers.orig_rax = NO_SYSTEM_CALL
    return top, block


def redirect(pid: int, server: Server, message: bytes) -> None:
    """Make the held backend raise the error as soon as it is continued.

    Raises RedirectError, with the backend stopped as before, when anything is not as it must be.
    """
    object_type = OBJECT_DATABASE.get(server.version)
    if object_type is None:
        raise RedirectError(f"PostgreSQL {server.version} is not among the verified versions")
    try:
        target = server.address("aclcheck_error")
        with Tracee(pid) as tracee:
            registers = tracee.registers()
            _require_entry(registers.rip, server)
            _require_no_critical_section(pid, server)
            address, block = aim(registers, target, object_type, message)
            write_memory(pid, address, block)
            tracee.set_registers(registers)
    except (OSError, UnknownServerError) as error:
        raise RedirectError(str(error)) from error


def _require_entry(instruction_pointer: int, server: Server) -> None:
    """A signal that arrived together with the hold runs its handler first; never break into that:
    the error would leave it with its signals still blocked."""
    for name, address in server.addresses:
        if name in ENTRIES and 0 <= instruction_pointer - address <= FIRST_INSTRUCTION_BYTES:
            return
    raise RedirectError("the backend does not stand at the entry of a probed function")


def _require_no_critical_section(pid: int, server: Server) -> None:
    """Inside one, any error becomes a PANIC that takes the whole cluster down."""
    if read_memory(pid, server.address("CritSectionCount"), 4) != bytes(4):
        raise RedirectError("the backend is in a critical section")
