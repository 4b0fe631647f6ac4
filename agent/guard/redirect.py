"""Deny at a function's entry: the held backend raises PostgreSQL's own permission error.

The backend stands at the entry of a probed function. Its registers are set as if the caller had
called ``ThrowErrorData(ErrorData *)`` instead, with an ErrorData of ours. That function never
returns from an ERROR: it raises SQLSTATE 42501 with our message and hint, the transaction aborts as
for any error and the session lives on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agent.guard.memory import Registers, Tracee, read_memory, write_memory
from agent.guard.server import ERROR_DATA, ErrorData, Server, UnknownServerError
from agent.guard.signal_frame import SignalFrame, find_frame

INSUFFICIENT_PRIVILEGE = sum((ord(c) - ord("0")) << 6 * at for at, c in enumerate("42501"))
"""As MAKE_SQLSTATE packs it, six bits a character."""
ERROR_DATA_BYTES = 256
"""More than the struct has in any version: what we do not set is zero, and that is absent."""
SAID = "permission denied for database "
"""PostgreSQL's words. Who reads logs or messages for them finds ours as well."""
MESSAGE_BYTES = 900
"""Longer reasons are cut; PostgreSQL would take more, a terminal line would not."""
TITLE_CHARS = 400
RECOGNISED_CHARS = 120
HINT_CONTACT_CHARS = 200
RED_ZONE_BYTES = 128
"""The ABI lets a function use this much below the stack pointer."""
NO_SYSTEM_CALL = 2**64 - 1
CLEARANCES_BYTES = (32768, 8192)
"""So far below a signal's handler its own stack does not reach, nor that of another one that breaks
into it. The nearer where the stack has never been so deep: it grows only when its owner uses it."""


class RedirectError(Exception):
    """The backend was left as it was; the text says why."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the client reads. Printable ASCII; an empty hint is none."""

    message: bytes
    hint: bytes = b""


def denial(
    database: str, rule_id: str, title: str, contact: str, request: str = "", recognised: str = ""
) -> Refusal:
    """ASCII only: the text goes out in the database's encoding, which we do not know here, and a
    byte that is invalid in it would turn the refusal into an encoding error. ``recognised`` is what
    the statement was taken for: verbs and names, no values.

    Message and hint both say whom to ask and for which request: programs that log an error often
    keep its message alone.
    """
    text = SAID + (f"{database} " if database else "")
    text += f"(blocked by pgwarden: rule {rule_id}: {_cut(title, TITLE_CHARS)}"
    text += f"; recognised {_cut(recognised, RECOGNISED_CHARS)}" if recognised else ""
    text += f"; ask {contact}" if contact else ""
    # Whoever wants it approved needs the whole name of the request, however long the rest is.
    end = _plain(f"; request {request})" if request else ")")
    message = _cut(_plain(text), MESSAGE_BYTES - len(end)) + end
    return Refusal(message.encode(), _plain(_hint(contact, request)).encode())


def _hint(contact: str, request: str) -> str:
    if not request:
        return f"Ask {_cut(contact, HINT_CONTACT_CHARS)}." if contact else ""
    whom = _cut(contact, HINT_CONTACT_CHARS) or "somebody who may approve it"
    return f"Ask {whom} to approve request {request} (pgwarden approvals show {request})."


def _plain(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode("ascii", "replace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def aim(
    registers: Registers, target: int, layout: ErrorData, refusal: Refusal
) -> tuple[int, bytes]:
    """Change ``registers`` into a call of ``target``; returns where to write which bytes.

    Where the first instruction was ``push %rbp`` the probe has moved the stack pointer already, so
    its present alignment says nothing. The new one is computed afresh: at a function's entry it is
    8 below a multiple of 16, as after a call. ErrorData and texts lie above it, out of the callee's
    way, and below the caller's frame.
    """
    texts = refusal.message + b"\0" + refusal.hint + b"\0"
    address = registers.rsp - RED_ZONE_BYTES - len(texts)
    data = (address - ERROR_DATA_BYTES) & ~0xF
    hint = address + len(refusal.message) + 1 if refusal.hint else 0
    # A zero return address makes sure that a mistake is a clean crash of one known cause and not
    # a silent execution of the denied statement.
    top = data - 8
    block = struct.pack("<Q", 0) + _error_data(layout, address, hint)
    block += bytes(address - top - len(block)) + texts
    registers.rsp = top
    registers.rip = target
    registers.rdi = data
    registers.rax = 0
    registers.orig_rax = NO_SYSTEM_CALL
    return top, block


def _error_data(layout: ErrorData, message: int, hint: int) -> bytes:
    data = bytearray(ERROR_DATA_BYTES)
    struct.pack_into("<i", data, 0, layout.error_level)
    struct.pack_into("<i", data, layout.sqlstate, INSUFFICIENT_PRIVILEGE)
    struct.pack_into("<Q", data, layout.message, message)
    struct.pack_into("<Q", data, layout.hint, hint)
    return bytes(data)


def redirect(
    pid: int, server: Server, refusal: Refusal, require_alive: Callable[[], None] = lambda: None
) -> None:
    """Make the held backend raise the error as soon as it is continued. ``require_alive`` raises
    OSError where the pid is not that backend's any more; who is traced keeps it.

    Raises RedirectError, with the backend stopped as before, when anything is not as it must be.
    """
    layout = ERROR_DATA.get(server.version)
    if layout is None:
        raise RedirectError(f"PostgreSQL {server.version} is not among the verified versions")
    try:
        target = server.address("ThrowErrorData")
        aimed = partial(aim, target=target, layout=layout, refusal=refusal)
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
