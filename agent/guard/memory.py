"""A server process's memory and registers, seen from outside (x86-64 Linux)."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

PTRACE_GETREGS = 12
PTRACE_SETREGS = 13
PTRACE_DETACH = 17
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WAIT_ALL = 0x40000000
"""__WALL"""
STOP_LIMIT_SECONDS = 2.0
"""On a busy machine the backend may wait for a processor between the probe and its stop."""
FIRST_LOOKS = 50
SPANS = 1024
"""The kernel's own limit for one call."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Span(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_SPAN_ARGUMENTS: list[Any] = [
    ctypes.c_int,
    ctypes.POINTER(_Span),
    ctypes.c_ulong,
    ctypes.POINTER(_Span),
    ctypes.c_ulong,
    ctypes.c_ulong,
]
_libc.process_vm_readv.argtypes = _SPAN_ARGUMENTS
_libc.process_vm_readv.restype = ctypes.c_ssize_t
_libc.process_vm_writev.argtypes = _SPAN_ARGUMENTS
_libc.process_vm_writev.restype = ctypes.c_ssize_t


_REGISTER_NAMES = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx"),
    *("rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base"),
    *("ds", "es", "fs", "gs"),
)


class Registers(ctypes.Structure):
    """struct user_regs_struct"""

    _fields_ = tuple((name, ctypes.c_ulong) for name in _REGISTER_NAMES)


def _last_error(what: str, pid: int) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what} of process {pid}: {os.strerror(code)}")


def read_memory(pid: int, address: int, size: int) -> bytes:
    """``size`` bytes at ``address``; OSError when the process is gone or forbids it."""
    buffer = ctypes.create_string_buffer(size)
    here = _Span(ctypes.addressof(buffer), size)
    there = _Span(address, size)
    done = _libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    if done != size:
        raise _last_error("read memory", pid)
    return buffer.raw


def read_spans(pid: int, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """What lies in each (address, size), in one call for at most SPANS of them; OSError when any
    of it cannot be read."""
    sizes = [size for _, size in spans]
    total = sum(sizes)
    if not total:
        return [b""] * len(sizes)
    buffer = ctypes.create_string_buffer(total)
    here = _Span(ctypes.addressof(buffer), total)
    count = len(sizes)
    flat = [number for span in spans for number in span]
    there = (_Span * count).from_buffer_copy(struct.pack(f"<{2 * count}Q", *flat))
    if _libc.process_vm_readv(pid, ctypes.byref(here), 1, there, count, 0) != total:
        raise _last_error("read memory", pid)
    raw, at, pieces = buffer.raw, 0, []
    for size in sizes:
        pieces.append(raw[at : at + size])
        at += size
    return pieces


def write_memory(pid: int, address: int, data: bytes) -> None:
    buffer = ctypes.create_string_buffer(data, len(data))
    here = _Span(ctypes.addressof(buffer), len(data))
    there = _Span(address, len(data))
    done = _libc.process_vm_writev(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    if done != len(data):
        raise _last_error("write memory", pid)


class Tracee:
    """A process under our ptrace for a moment; leaving the block always detaches.

    PTRACE_O_EXITKILL is not set: when this process dies, the kernel detaches and the backend is
    merely stopped, for the watchdog to release. All calls belong to one thread, as ptrace demands.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pending_signal = 0

    def __enter__(self) -> Self:
        self._call(PTRACE_SEIZE, "trace")
        try:
            self._call(PTRACE_INTERRUPT, "interrupt")
            self._wait_for_stop()
        except BaseException:
            self._detach()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._detach()

    def registers(self) -> Registers:
        registers = Registers()
        self._call(PTRACE_GETREGS, "read registers", ctypes.addressof(registers))
        return registers

    def set_registers(self, registers: Registers) -> None:
        self._call(PTRACE_SETREGS, "set registers", ctypes.addressof(registers))

    def _wait_for_stop(self) -> None:
        """A held backend is stopped already, or stops before it returns to user mode."""
        limit = time.monotonic() + STOP_LIMIT_SECONDS
        looks = 0
        while time.monotonic() < limit:
            pid, status = os.waitpid(self.pid, WAIT_ALL | os.WNOHANG)
            if pid == 0:
                looks += 1
                if looks > FIRST_LOOKS:
                    time.sleep(0.0005)
                continue
            if not os.WIFSTOPPED(status):
                raise ProcessLookupError(f"process {self.pid} ended while held")
            # An event of zero means the stop interrupted the delivery of a signal: hand it back on
            # detach, or a latch wake-up of PostgreSQL would be lost. SIGSTOP as well: without our
            # own hold the backend would go on from the detach, and the SIGCONT that ends this hold
            # might end the next one, whose statement then ran unjudged.
            if status >> 16 == 0:
                self._pending_signal = os.WSTOPSIG(status)
            return
        raise TimeoutError(f"process {self.pid} did not stop within {STOP_LIMIT_SECONDS} s")

    def _detach(self) -> None:
        # ESRCH: it was killed, or is not in a tracing stop; our exit would detach it then.
        _libc.ptrace(PTRACE_DETACH, self.pid, None, self._pending_signal or None)

    def _call(self, request: int, what: str, data: int | None = None) -> None:
        if _libc.ptrace(request, self.pid, None, data) != 0:
            raise _last_error(what, self.pid)
