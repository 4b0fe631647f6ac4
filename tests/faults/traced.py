"""What a program asked of the kernel, as strace saw it, and what a power cut leaves of that."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

CALLS = "openat,pwrite64,write,fsync,fdatasync,ftruncate,unlink"
COMMAND = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", "-o"]
_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (\d+)")
_DESCRIPTOR = re.compile(r"^\d+<([^>]*)>(?:\(deleted\))?")


@dataclass(frozen=True)
class Call:
    name: str
    path: str
    data: bytes = b""
    offset: int = 0


@dataclass
class File:
    durable: bytes = b""
    named: bool = False
    """Whether the folder was synced since it was made."""
    waiting: list[Call] = field(default_factory=list)
    """Not synced yet."""


def calls(trace: Path) -> Iterator[Call]:
    """Of files, and writes to standard output (path ``""``)."""
    for line in trace.read_text().splitlines():
        found = _CALL.match(line)
        if not found:
            continue
        name, arguments, _ = found.groups()
        if name == "openat" and "O_CREAT" in arguments:
            yield Call("create", _text(arguments.split(", ")[1]).decode())
        elif name == "unlink":
            yield Call(name, _text(arguments).decode())
        elif (opened := _DESCRIPTOR.match(arguments)) is not None:
            path = re.sub(r"\\x(..)", lambda m: chr(int(m[1], 16)), opened[1])
            rest = arguments[opened.end() + 2 :].split(", ")
            if name == "pwrite64":
                yield Call(name, path, _text(rest[0]), int(rest[2]))
            elif name == "write":
                yield Call(name, "" if arguments.startswith("1<") else path, _text(rest[0]))
            elif name == "ftruncate":
                yield Call(name, path, b"", int(rest[0]))
            else:
                yield Call("sync", path)


def cut(ops: list[Call], length: int, dice: Random) -> tuple[dict[str, bytes], bytes]:
    """Files after a power cut behind the first ``length`` calls, and what had been printed."""
    files: dict[str, File] = {}
    printed = b""
    for call in ops[:length]:
        if call.name == "write":
            printed += b"" if call.path else call.data
        elif call.name == "create":
            files.setdefault(call.path, File())
        elif call.name == "unlink":
            files.pop(call.path, None)
        elif call.name == "sync" and call.path in files:
            file = files[call.path]
            for each in file.waiting:
                file.durable = _applied(file.durable, each)
            file.waiting = []
        elif call.name == "sync":
            for path, file in files.items():
                file.named = file.named or path.rpartition("/")[0] == call.path
        elif call.path in files:
            files[call.path].waiting.append(call)
    left = {}
    for path, file in files.items():
        if not file.named and dice.random() < 0.5:
            continue
        content = file.durable
        for each in file.waiting:
            if dice.random() < 0.5:
                content = _applied(content, _torn(each, dice))
        left[path] = content
    return left, printed


def _torn(call: Call, dice: Random) -> Call:
    """A write may be cut at a sector."""
    if not call.data or dice.random() < 0.7:
        return call
    return Call(call.name, call.path, call.data[: 512 * dice.randrange(9)], call.offset)


def _applied(content: bytes, call: Call) -> bytes:
    if call.name == "ftruncate":
        return content[: call.offset].ljust(call.offset, b"\0")
    content = content.ljust(call.offset, b"\0")
    return content[: call.offset] + call.data + content[call.offset + len(call.data) :]


def _text(quoted: str) -> bytes:
    return bytes.fromhex(quoted.strip('"').replace("\\x", ""))
