"""Deny at a function's entry: the held backend raises PostgreSQL's own permission error.

The backend stands at the entry of a probed function. Its registers are set as if the caller had
called ``aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_DATABASE, text)`` instead. That function never
returns: it raises SQLSTATE 42501 with our text, the transaction aborts as for any error and the
session lives on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from agent.guard.memory import Registers, Tracee, read_memory, write_memory
from agent.guard.server import OBJECT_DATABASE, Server, UnknownServerError
from agent.guard.signal_frame import SignalFrame, find_frame

ACLCHECK_NO_PRIV = 1
MESSAGE_BYTES = 900
"""Longer reasons are cut; PostgreSQL would take more, a terminal line would not."""
TITLE_CHARS = 400
RECOGNISED_CHARS = 120
RED_ZONE_BYTES = 128
"""The ABI lets a function use this much below the stack pointer."""
NO_SYSTEM_CALL = 2**64 - 1
CLEARANCES_BYTES = (32768, 8192)
"""So far below a signal's handler its own stack does not reach, nor that of another one that breaks
into it. The nearer where the stack has never been so deep: it grows only when its owner uses it."""


class RedirectError(Exception):
    """The backend was left as it was; the text says why."""


def denial(
    database: str, rule_id: str, title: str, contact: str, request: str = "", recognised: str = ""
) -> bytes:
    """What follows "permission denied for database " at the client.

    ASCII only: the text goes out in the database's encoding, which we do not know here, and a
    byte that is invalid in it would turn the refusal into an encoding error. ``recognised`` is what
    the statement was taken for: verbs and names, no values.
    """
    text = f"{database} " if database else ""
    text += f"(blocked by pgwarden: rule {rule_id}: {_cut(title, TITLE_CHARS)}"
    text += f"; recognised {_cut(recognised, RECOGNISED_CHARS)}" if recognised else ""
    text += f"; ask {contact}" if contact else ""
    # Whoever wants it approved needs the whole name of the request, however long the rest is.
    end = _plain(f"; request {request})" if request else ")")
    return _cut(_plain(text), MESSAGE_BYTES - len(end)).encode() + end.encode()


def _plain(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode("ascii", "replace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


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


def redirect(
    pid: int, server: Server, message: bytes, require_alive: Callable[[], None] = lambda: None
) -> None:
    """Make the held backend raise the error as soon as it is continued. ``require_alive`` raises
    OSError where the pid is not that backend's any more; who is traced keeps it.

    Raises RedirectError, with the backend stopped as before, when anything is not as it must be.
    """
    object_type = OBJECT_DATABASE.get(server.version)
    if object_type is None:
        raise RedirectError(f"PostgreSQL {server.version} is not among the verified versions")
    try:
        target = server.address("aclcheck_error")
        aimed = partial(aim, target=target, object_type=object_type, message=message)
        with Tracee(pid) as tracee:
            require_alive()
            registers = tracee.registers()
            at_entry = server.is_entry(registers.rip)
            frame = None if at_entry else _require_frame(pid, registers.rsp, server)
            _require_no_critical_section(pid, server)
            if frame is not None:
                _write_below(pid, registers.rsp, frame.registers, aimed)
                frame.write(pid)
                return
            address, block = aimed(registers)
            write_memory(pid, address, block)
            tracee.set_registers(registers)
    except (OSError, UnknownServerError) as error:
        raise RedirectError(str(error)) from error


def _require_frame(pid: int, stack_pointer: int, server: Server) -> SignalFrame:
    """A signal that arrived together with the hold runs its handler first, and nobody breaks into
    that: the error would leave it with its signals still blocked. It returns into the error."""
    frame = find_frame(pid, stack_pointer, server.is_entry)
    if frame is None:
        raise RedirectError("the backend does not stand at the entry of a probed function")
    return frame


def _write_below(
    pid: int,
    stack_pointer: int,
    registers: Registers,
    aimed: Callable[[Registers], tuple[int, bytes]],
) -> None:
    """The message, and what ``registers`` are to be, clear of the handler. Raises OSError."""
    for clearance in CLEARANCES_BYTES:
        registers.rsp = stack_pointer - clearance
        address, block = aimed(registers)
        try:
            write_memory(pid, address, block)
        except OSError:
            if clearance == CLEARANCES_BYTES[-1]:
                raise
        else:
            return


def _require_no_critical_section(pid: int, server: Server) -> None:
    """Inside one, any error becomes a PANIC that takes the whole cluster down."""
    if read_memory(pid, server.address("CritSectionCount"), 4) != bytes(4):
        raise RedirectError("the backend is in a critical section")
