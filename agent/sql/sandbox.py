"""What a process gives up before it reads text from strangers.

No files, no sockets, no new programs, no core dump, a ceiling on memory and CPU time, and no user
of its own. The process imports everything it needs first: afterwards it cannot even open a module.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct

NOBODY = 65534
MAX_MEMORY_BYTES = 512 << 20
MAX_OPEN_FILES = 8

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOWED = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
        "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
        "pread": 17, "sched_yield": 24, "mremap": 25, "madvise": 28, "getpid": 39, "exit": 60,
        "fstat": 5, "getrlimit": 97, "getrusage": 98, "gettid": 186, "futex": 202,
        "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231, "tgkill": 234,
        "newfstatat": 262, "prlimit64": 302, "getrandom": 318, "sigaltstack": 131,
    },
    "aarch64": {
        "close": 57, "lseek": 62, "read": 63, "write": 64, "pread": 67, "ppoll": 73,
        "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98,
        "clock_gettime": 113, "sched_yield": 124, "restart_syscall": 128, "tgkill": 131,
        "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
        "getrlimit": 163, "getrusage": 165, "getpid": 172, "gettid": 178, "brk": 214,
        "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233,
        "prlimit64": 261, "getrandom": 278,
    },
}  # fmt: skip
"""System call numbers from the kernel's tables. Anything else fails with EPERM."""


class SandboxError(OSError):
    """The kernel refused a limit; the process must not go on without it."""


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def enter(parent_pid: int) -> None:
    """Gives everything up, for good; raises SandboxError where a limit cannot be had.

    System call filtering is left out where the kernel lacks it or the architecture is unknown; all
    other limits hold without it.
    """
    _limit()
    _become_nobody()
    libc = ctypes.CDLL(None, use_errno=True)
    _drop_capabilities(libc)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, _PR_SET_DUMPABLE, 0)
    # After the change of user: the kernel forgets the signal at one.
    _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise SandboxError("the agent died before its parser worker was ready")
    _filter_system_calls(libc)


def renew_cpu_seconds(seconds: int) -> None:
    """Allows ``seconds`` of CPU time from now on; the kernel kills the process after them."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def _limit() -> None:
    limits = (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    )
    for limit, value in limits:
        resource.setrlimit(limit, (value, value))


def _become_nobody() -> None:
    """Only root can; any other user is unprivileged as it is."""
    if os.geteuid() != 0:
        return
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """An agent that is not root hands its ambient capabilities down through exec; the parser must
    not keep one. Lowering the permitted set lowers the ambient one with it.
    """
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    nothing = ctypes.create_string_buffer(bytes(24))  # effective, permitted, inheritable, twice
    if libc.capset(header, nothing) != 0:
        raise SandboxError(ctypes.get_errno(), "capabilities could not be given up")


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise SandboxError(ctypes.get_errno(), f"prctl {option} was refused")


def _filter_system_calls(libc: ctypes.CDLL) -> bool:
    machine = platform.machine()
    if machine not in _ALLOWED:
        return False
    code = _filter_code(_ARCHITECTURES[machine], sorted(_ALLOWED[machine].values()))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _FilterProgram(len(code) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _filter_code(architecture: int, allowed: list[int]) -> bytes:
    """Classic BPF over ``struct seccomp_data``: call number at offset 0, architecture at 4."""
    load, jump_equal, answer = 0x20, 0x15, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050001, 0x80000000

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, value)

    body = [
        instruction(load, 4),
        instruction(jump_equal, architecture, if_true=1),
        instruction(answer, kill),
        instruction(load, 0),
    ]
    for index, number in enumerate(allowed):
        body.append(instruction(jump_equal, number, if_true=len(allowed) - index))
    body += [instruction(answer, refuse), instruction(answer, allow)]
    return b"".join(body)
