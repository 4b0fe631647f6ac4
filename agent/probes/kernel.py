"""The few system calls that both loaders share: maps, and attaching programs.

Probes are attached through the uprobe PMU of perf_event_open, which needs no tracefs, and hang on
file descriptors: when the agent dies, by whatever signal, the kernel removes them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from agent.probes.errors import CaptureUnavailable, kernel_refusal

SYS_BPF = 321
SYS_PERF_EVENT_OPEN = 298
BPF_MAP_LOOKUP_ELEM = 1
BPF_MAP_UPDATE_ELEM = 2
BPF_MAP_DELETE_ELEM = 3
BPF_RAW_TRACEPOINT_OPEN = 17
BPF_MAP_LOOKUP_BATCH = 24
BPF_LINK_CREATE = 28
BPF_TRACE_UPROBE_MULTI = 48
MANY_AT_ONCE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)
"""How kernels before 6.6 say that they cannot attach one program to many places at once."""
BPF_MAP_DELETE_BATCH = 27
BPF_NOEXIST = 1
PERF_EVENT_IOC_ENABLE = 0x2400
PERF_EVENT_IOC_SET_BPF = 0x40042408
PERF_FLAG_FD_CLOEXEC = 8
PERF_ATTR_BYTES = 112
UPROBE_PMU = Path("/sys/bus/event_source/devices/uprobe/type")
POSSIBLE_CPUS = Path("/sys/devices/system/cpu/possible")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _syscall(number: int, *arguments: object) -> int:
    """The result, or minus errno."""
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    return -ctypes.get_errno() if result < 0 else result


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _syscall(SYS_BPF, ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes)))


def possible_cpus() -> int:
    """Per-CPU maps have one value for each CPU that could ever come online."""
    last = POSSIBLE_CPUS.read_text().strip().replace("-", ",").split(",")[-1]
    return int(last) + 1


class KernelMap:
    """One BPF map by file descriptor, which it does not own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def update(self, key: bytes, value: bytes, *, only_new: bool = False) -> bool:
        """False when ``only_new`` and the key is there already. Raises OSError else."""
        key_buffer = ctypes.create_string_buffer(key, len(key))
        value_buffer = ctypes.create_string_buffer(value, len(value))
        result = self._element(
            BPF_MAP_UPDATE_ELEM, key_buffer, value_buffer, BPF_NOEXIST if only_new else 0
        )
        if result == -errno.EEXIST:
            return False
        if result < 0:
            raise OSError(-result, f"cannot write to a BPF map: {os.strerror(-result)}")
        return True

    def lookup(self, key: bytes, value_bytes: int) -> bytes | None:
        key_buffer = ctypes.create_string_buffer(key, len(key))
        value_buffer = ctypes.create_string_buffer(value_bytes)
        result = self._element(BPF_MAP_LOOKUP_ELEM, key_buffer, value_buffer, 0)
        return value_buffer.raw if result >= 0 else None

    def delete(self, key: bytes) -> None:
        self._element(BPF_MAP_DELETE_ELEM, ctypes.create_string_buffer(key, len(key)), None, 0)

    def entries(self, key_bytes: int, value_bytes: int, most: int) -> list[tuple[bytes, bytes]]:
        """All entries of a hash map, or ``most`` of them. Raises OSError."""
        keys = ctypes.create_string_buffer(most * key_bytes)
        values = ctypes.create_string_buffer(most * value_bytes)
        result, count = self._batch(BPF_MAP_LOOKUP_BATCH, keys, values, most)
        if result < 0 and result != -errno.ENOENT:  # ENOENT: these were the last ones
            raise OSError(-result, f"cannot read a BPF map: {os.strerror(-result)}")
        raw_keys, raw_values = keys.raw, values.raw
        return [
            (
                raw_keys[at * key_bytes : (at + 1) * key_bytes],
                raw_values[at * value_bytes : (at + 1) * value_bytes],
            )
            for at in range(count)
        ]

    def delete_all(self, keys: list[bytes]) -> None:
        if keys:
            joined = b"".join(keys)
            buffer = ctypes.create_string_buffer(joined, len(joined))
            self._batch(BPF_MAP_DELETE_BATCH, buffer, None, len(keys))

    def _batch(
        self,
        command: int,
        keys: ctypes.Array[ctypes.c_char],
        values: ctypes.Array[ctypes.c_char] | None,
        count: int,
    ) -> tuple[int, int]:
        """The result, and how many entries it is about."""
        place = ctypes.create_string_buffer(8)
        attributes = struct.pack(
            "<QQQQIIQQ",
            0,
            ctypes.addressof(place) if values is not None else 0,
            ctypes.addressof(keys),
            ctypes.addressof(values) if values is not None else 0,
            count,
            self._fd,
            0,
            0,
        )
        buffer = ctypes.create_string_buffer(attributes, len(attributes))
        result = _syscall(SYS_BPF, ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes)))
        return result, int.from_bytes(buffer.raw[32:36], "little")

    def _element(
        self,
        command: int,
        key: ctypes.Array[ctypes.c_char],
        value: ctypes.Array[ctypes.c_char] | None,
        flags: int,
    ) -> int:
        value_address = ctypes.addressof(value) if value is not None else 0
        attributes = struct.pack("<IIQQQ", self._fd, 0, ctypes.addressof(key), value_address, flags)
        return _bpf(command, attributes)


def attach_uprobe(program_fd: int, binary: Path, file_offset: int) -> int:
    """Run the program whenever any process executes that byte of the file; returns an fd."""
    try:
        pmu = int(UPROBE_PMU.read_text())
    except OSError as error:
        raise CaptureUnavailable(
            f"this kernel offers no uprobes to perf: {error}",
            "use a kernel with CONFIG_UPROBE_EVENTS",
        ) from error
    name = ctypes.create_string_buffer(os.fsencode(binary))
    attributes = struct.pack("<IIQQQQ", pmu, PERF_ATTR_BYTES, 0, 1, 0, 0)
    attributes += struct.pack("<QIIQQ", 0, 0, 0, ctypes.addressof(name), file_offset)
    attributes += bytes(PERF_ATTR_BYTES - len(attributes))
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    fd = _syscall(
        SYS_PERF_EVENT_OPEN,
        buffer,
        ctypes.c_int(-1),
        ctypes.c_int(0),
        ctypes.c_int(-1),
        ctypes.c_ulong(PERF_FLAG_FD_CLOEXEC),
    )
    if fd < 0:
        raise kernel_refusal(f"put a probe into {binary}", -fd)
    try:
        fcntl.ioctl(fd, PERF_EVENT_IOC_SET_BPF, program_fd)
        fcntl.ioctl(fd, PERF_EVENT_IOC_ENABLE, 0)
    except OSError as error:
        os.close(fd)
        raise kernel_refusal("attach the program to its probe", error.errno or 0) from error
    return fd


def attach_uprobes(program_fd: int, binary: Path, file_offsets: Sequence[int]) -> list[int]:
    """The same at many places. Since Linux 6.6 on one descriptor: to take away a probe on its own
    takes the kernel a tenth of a second."""
    if not file_offsets:
        return []
    path = ctypes.create_string_buffer(os.fsencode(binary))
    places = (ctypes.c_uint64 * len(file_offsets))(*file_offsets)
    attributes = struct.pack("<IIII", program_fd, 0, BPF_TRACE_UPROBE_MULTI, 0)
    attributes += struct.pack(
        "<QQQQIII",
        ctypes.addressof(path),
        ctypes.addressof(places),
        0,
        0,
        len(file_offsets),
        0,
        0,
    )
    fd = _bpf(BPF_LINK_CREATE, attributes)
    if fd >= 0:
        return [fd]
    if -fd not in MANY_AT_ONCE:
        raise kernel_refusal(f"put probes into {binary}", -fd)
    descriptors: list[int] = []
    try:
        for offset in file_offsets:
            descriptors.append(attach_uprobe(program_fd, binary, offset))
    except CaptureUnavailable:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return descriptors


def attach_raw_tracepoint(program_fd: int, name: str) -> int:
    """Needs no tracefs either."""
    buffer = ctypes.create_string_buffer(name.encode())
    fd = _bpf(BPF_RAW_TRACEPOINT_OPEN, struct.pack("<QII", ctypes.addressof(buffer), program_fd, 0))
    if fd < 0:
        raise kernel_refusal(f"attach to the tracepoint {name}", -fd)
    return fd
