"""What a backend goes on with after a signal handler at whose entry it stands.

Where a signal comes together with a hold, the kernel prepares the handler's call before it stops
the process: it puts the interrupted registers on the stack, and the handler returns to a few
instructions of libc (the restorer) that have the kernel load them again. So who changes them there
changes what comes after the handler, and lets the handler itself run undisturbed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from agent.guard.memory import Registers, read_memory, write_memory

CONTEXT = 48
"""From the stack pointer at a handler's entry to the registers (``uc_mcontext``): the return
address, ``uc_flags``, ``uc_link`` and ``uc_stack`` lie before them."""
NAMES = (
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx"),
    *("rax", "rcx", "rsp", "rip", "eflags"),
)
RESTORERS = (b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", b"\xb8\x0f\x00\x00\x00\x0f\x05")
"""``rt_sigreturn`` as glibc and musl call it. Nothing else returns to it, so it tells a frame."""
MAX_FRAMES = 16
"""Signals that came together: each handler's frame has saved the entry of the one before it."""

_saved = struct.Struct(f"<{len(NAMES)}Q")
_pointer = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class SignalFrame:
    address: int
    """Where the registers lie."""
    registers: Registers
    """With those of NAMES alone."""

    def write(self, pid: int) -> None:
        """Raises OSError."""
        values = (getattr(self.registers, name) for name in NAMES)
        write_memory(pid, self.address, _saved.pack(*values))


def find_frame(pid: int, stack_pointer: int, is_entry: Callable[[int], bool]) -> SignalFrame | None:
    """The frame that leads back to where ``is_entry`` says so, if the process stands at the entry
    of a signal's handler with this stack pointer. Raises OSError."""
    for _ in range(MAX_FRAMES):
        [restorer] = _pointer.unpack(read_memory(pid, stack_pointer, _pointer.size))
        if not _is_restorer(pid, restorer):
            return None
        address = stack_pointer + CONTEXT
        values = _saved.unpack(read_memory(pid, address, _saved.size))
        registers = Registers(**dict(zip(NAMES, values, strict=True)))
        if is_entry(registers.rip):
            return SignalFrame(address, registers)
        stack_pointer = registers.rsp
    return None


def _is_restorer(pid: int, address: int) -> bool:
    try:
        code = read_memory(pid, address, max(map(len, RESTORERS)))
    except OSError:
        return False  # a return address is one; what lies here is no code
    return code.startswith(RESTORERS)
