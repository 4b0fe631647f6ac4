"""Kernel, rights, clock and disk. Every path is read under ``root``, so a test can say what is."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from cli.doctor.check import Check, bad, good, warn

OLDEST_KERNEL = (5, 8)
"""First with the BPF ring buffer and CAP_BPF."""
NEEDED_CAPABILITIES = {
    "CAP_BPF": (39, "no eBPF capture: the pgaudit log alone remains"),
    "CAP_PERFMON": (38, "no eBPF capture: the pgaudit log alone remains"),
    "CAP_SYS_PTRACE": (19, "a deny falls back to a cancel, without our words for the client"),
    "CAP_KILL": (5, "nothing can be held, cancelled or terminated"),
    "CAP_DAC_READ_SEARCH": (2, "logs of the server's account may be unreadable"),
}
CAP_SYS_ADMIN = 21
GIB = 1 << 30
STA_UNSYNC = 0x0040


def check_host(folders: list[Path], root: Path = Path("/")) -> Iterator[Check]:
    yield check_kernel(platform.release(), platform.machine())
    yield check_capabilities(root)
    yield check_lockdown(root)
    yield check_ptrace(root)
    yield check_clock()
    for folder in folders:
        yield check_disk(folder)


def check_kernel(release: str, machine: str) -> Check:
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if machine != "x86_64":
        return bad(
            "kernel",
            f"{machine}: the probes know x86_64 only",
            "run with agent.capture.ebpf: false",
        )
    if numbers < OLDEST_KERNEL:
        return bad("kernel", f"{release} has no BPF ring buffer", "boot a kernel from 5.8 on")
    return good("kernel", f"{release} on {machine}")


def check_capabilities(root: Path = Path("/")) -> Check:
    status = (root / "proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    missing = [name for name, (bit, _) in NEEDED_CAPABILITIES.items() if not effective >> bit & 1]
    if effective >> CAP_SYS_ADMIN & 1:  # before 5.8's split it stood for all of BPF's
        missing = [name for name in missing if name not in ("CAP_BPF", "CAP_PERFMON")]
    if missing:
        return bad(
            "capabilities",
            "; ".join(f"{name} is missing: {NEEDED_CAPABILITIES[name][1]}" for name in missing),
            "run as root, or use deploy/systemd/pgwarden-agent.service",
        )
    return good("capabilities", "all that capture and guard need")


def check_lockdown(root: Path = Path("/")) -> Check:
    file = root / "sys/kernel/security/lockdown"
    try:
        text = file.read_text()
    except OSError:
        return good("lockdown", "not in this kernel")
    mode = text.split("[")[-1].split("]")[0]
    if mode == "confidentiality":
        return bad(
            "lockdown",
            "confidentiality: BPF cannot read user memory",
            "boot with lockdown=integrity, or rely on pgaudit alone",
        )
    return good("lockdown", mode)


def check_ptrace(root: Path = Path("/")) -> Check:
    file = root / "proc/sys/kernel/yama/ptrace_scope"
    try:
        scope = int(file.read_text())
    except OSError:
        return good("ptrace", "not restricted")
    if scope >= 3:
        return warn(
            "ptrace",
            "ptrace_scope is 3: a deny falls back to a cancel, without our words for the client",
            "sysctl kernel.yama.ptrace_scope=2 (takes a reboot to lower)",
        )
    return good("ptrace", f"ptrace_scope {scope}")


def check_clock() -> Check:
    buffer = ctypes.create_string_buffer(512)  # struct timex; modes 0 only asks
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(buffer) < 0:
        return warn("clock", f"cannot ask the kernel: {os.strerror(ctypes.get_errno())}", "")
    status = int.from_bytes(buffer.raw[40:44], "little")
    if status & STA_UNSYNC:
        return warn(
            "clock",
            "not synchronised: times of several hosts cannot be compared",
            "apt-get install -y chrony",
        )
    return good("clock", "synchronised")


def check_disk(folder: Path) -> Check:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return bad("disk", f"{existing} cannot be written", f"chown this account {existing}")
    if free < GIB:
        return warn("disk", f"{folder}: only {free / GIB:.1f} GiB free", "make room, or move it")
    return good("disk", f"{folder}: {free / GIB:.0f} GiB free")
