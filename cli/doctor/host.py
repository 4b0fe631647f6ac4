"""Kernel, rights, clock and disk. Every path is read under ``root``, so a test can say what is."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from cli.doctor.check import Check, attempt, bad, good, warn
from config import Config
from model.verdict import Mode

ROOT = Path("/")
OLDEST_KERNEL = (5, 8)
"""First with the BPF ring buffer and CAP_BPF."""
MEMORY_COUNTED_ELSEWHERE = (5, 11)
"""From here on BPF memory counts for the control group, and no longer against a limit."""
NO_CAPTURE = "no eBPF capture: the pgaudit log alone remains"
CAPABILITIES = {
    "CAP_BPF": (39, NO_CAPTURE),
    "CAP_PERFMON": (38, NO_CAPTURE),
    "CAP_SYS_ADMIN": (21, NO_CAPTURE),
    "CAP_SYS_RESOURCE": (24, "kernels before 5.11 may refuse the memory of the probes"),
    "CAP_SYS_PTRACE": (19, "other accounts' servers cannot be found, nor a statement refused"),
    "CAP_KILL": (5, "nothing can be held, cancelled or terminated"),
    "CAP_DAC_READ_SEARCH": (2, "logs of the server's account may be unreadable"),
}
FOR_CAPTURE = ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE")
FOR_GUARD = ("CAP_KILL", "CAP_SYS_PTRACE")
CAP_SYS_ADMIN = 21
RIGHTS = "sudo pgwarden doctor  # or run the agent with deploy/systemd/pgwarden-agent.service"
GIB = 1 << 30
STA_UNSYNC = 0x0040
TIMEX_BYTES = 512
"""More than any ``struct timex``."""
TIMEX_STATUS = slice(40, 44)


def check_host(config: Config, root: Path = ROOT) -> Iterator[Check]:
    ebpf, mode = config.agent.capture.ebpf, config.agent.guard.mode
    release = platform.release()
    yield from attempt("kernel", lambda: [check_kernel(release, platform.machine())])
    yield from attempt("capabilities", lambda: [check_capabilities(root, release, ebpf, mode)])
    yield from attempt("lockdown", lambda: [check_lockdown(root)])
    yield from attempt("ptrace", lambda: [check_ptrace(root)])
    yield from attempt("clock", lambda: [check_clock()])
    yield from attempt("disk", lambda: _check_disks(config))


def _check_disks(config: Config) -> Iterator[Check]:
    yield check_disk("agent.state_dir", config.agent.state_dir)
    yield check_disk("collector.data_dir", config.collector.data_dir)


def check_kernel(release: str, machine: str) -> Check:
    numbers = _numbers(release)
    if machine != "x86_64":
        return bad(
            "kernel",
            f"{machine}: the probes know x86_64 only; {NO_CAPTURE}",
            "set agent.capture.ebpf: false",
        )
    if not numbers:
        return warn("kernel", f"{release}: the version cannot be told", "uname -r  # 5.8 or later")
    if numbers < OLDEST_KERNEL:
        return bad(
            "kernel",
            f"{release} has no BPF ring buffer; {NO_CAPTURE}",
            "boot a kernel from 5.8 on, or set agent.capture.ebpf: false",
        )
    return good("kernel", f"{release} on {machine}")


def _numbers(release: str) -> tuple[int, ...]:
    """``5.10.0-28-amd64`` -> (5, 10); empty when it does not begin with numbers."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else ()


def check_capabilities(
    root: Path, release: str, ebpf: bool = True, mode: Mode = Mode.OBSERVE
) -> Check:
    """Bad where something configured cannot work, a warning where it works less well."""
    missing = _missing(_effective((root / "proc/self/status").read_text()))
    if _numbers(release) >= MEMORY_COUNTED_ELSEWHERE:
        missing = [name for name in missing if name != "CAP_SYS_RESOURCE"]
    if not missing:
        return good("capabilities", "all that capture and guard need")
    sentence = "; ".join(f"{name} is missing: {CAPABILITIES[name][1]}" for name in missing)
    fatal = {*(FOR_CAPTURE if ebpf else ()), *(FOR_GUARD if mode is Mode.ENFORCE else ())}
    return (bad if fatal & set(missing) else warn)("capabilities", sentence, RIGHTS)


def _effective(status: str) -> int:
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return int(line.split()[1], 16)


def _missing(effective: int) -> list[str]:
    missing = [name for name, (bit, _) in CAPABILITIES.items() if not effective >> bit & 1]
    if effective >> CAP_SYS_ADMIN & 1:  # before 5.8's split it stood for all of BPF's
        return [name for name in missing if name not in ("CAP_BPF", "CAP_PERFMON")]
    return missing


def check_lockdown(root: Path = ROOT) -> Check:
    file = root / "sys/kernel/security/lockdown"
    try:
        text = file.read_text()
    except OSError:
        return good("lockdown", "not in this kernel, or not to be seen")
    mode = text.split("[")[-1].split("]")[0]
    if mode == "confidentiality":
        return bad(
            "lockdown",
            f"confidentiality: BPF cannot read user memory; {NO_CAPTURE}",
            "boot with lockdown=integrity, or set agent.capture.ebpf: false",
        )
    return good("lockdown", mode)


def check_ptrace(root: Path = ROOT) -> Check:
    file = root / "proc/sys/kernel/yama/ptrace_scope"
    try:
        scope = int(file.read_text())
    except (OSError, ValueError):
        return good("ptrace", "not restricted")
    if scope >= 3:
        return warn(
            "ptrace",
            "ptrace_scope is 3: a deny falls back to a cancel, without our words for the client",
            "echo kernel.yama.ptrace_scope=2 > /etc/sysctl.d/10-ptrace.conf  # then reboot: "
            "3 cannot be lowered while the system runs",
        )
    return good("ptrace", f"ptrace_scope {scope}")


def check_clock() -> Check:
    buffer = ctypes.create_string_buffer(TIMEX_BYTES)  # modes 0: only asks
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(buffer) < 0:
        why = os.strerror(ctypes.get_errno())
        return warn("clock", f"the kernel does not tell: {why}", "timedatectl status")
    if int.from_bytes(buffer.raw[TIMEX_STATUS], "little") & STA_UNSYNC:
        return warn(
            "clock",
            "not synchronised: times of several hosts cannot be compared",
            "apt-get install -y chrony",
        )
    return good("clock", "synchronised")


def check_disk(name: str, folder: Path) -> Check:
    """``folder`` need not be there yet: then what it will be made in is looked at."""
    existing = next(each for each in (folder, *folder.parents) if os.path.exists(each))
    make = f"install -d -o pgwarden -g pgwarden -m 0700 {folder}"
    if not existing.is_dir():
        return bad("disk", f"{name}: {existing} is not a folder", f"choose another {name}")
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        return bad("disk", f"{name}: {existing} cannot be written by this account", make)
    free = shutil.disk_usage(existing).free
    if free < GIB:
        return warn(
            "disk",
            f"{name}: only {free / GIB:.1f} GiB free for {folder}",
            f"df -h {existing}  # make room, or move {name}",
        )
    return good("disk", f"{name}: {free / GIB:.0f} GiB free for {folder}")
