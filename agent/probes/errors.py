"""Why capture by eBPF cannot be had."""

from __future__ import annotations

import errno


class CaptureUnavailable(Exception):  # noqa: N818 - a state of the host, not a bug
    """``reason`` says what is missing, ``remedy`` what to do about it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


RIGHTS = (
    "run the agent as root or with CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_RESOURCE and "
    "CAP_SYS_PTRACE"
)


def kernel_refusal(what: str, code: int) -> CaptureUnavailable:
    """Translate an errno of the bpf or perf_event_open system call."""
    reason = f"the kernel refused to {what}: {errno.errorcode.get(code, str(code))}"
    if code in (errno.EPERM, errno.EACCES):
        return CaptureUnavailable(reason, RIGHTS)
    if code in (errno.ENOENT, errno.ENODEV):
        return CaptureUnavailable(reason, "use a kernel with CONFIG_UPROBE_EVENTS, 5.8 or later")
    if code == errno.EINVAL:
        return CaptureUnavailable(reason, "use a kernel of 5.8 or later with eBPF")
    return CaptureUnavailable(reason)
