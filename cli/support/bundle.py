"""The parts of a support bundle. One that cannot be made says why in its place."""

from __future__ import annotations

import io
import os
import platform
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import IO, Any

import httpx
import orjson

from cli.status import asked_collector, read_record
from cli.support.scrub import cleaned, configuration, secrets_of, text
from config import Config
from config.schema import Listen
from model.version import __version__

LOG_LINES = 2_000
LOG_BYTES = 4 << 20
TIMEOUT_SECONDS = 60.0
ENTRIES = 100
CLOSED = ("tokens",)
"""Folders whose files are only counted: their names are hashes of secrets."""

Part = tuple[str, Callable[[], bytes]]


def parts(
    settings: Config, logs: Sequence[Path], doctor: bool, config: Path | None = None
) -> Iterator[Part]:
    """Name and what makes it, in the order of the bundle."""
    collector, agent = settings.collector, settings.agent
    yield "about.json", _about
    yield "configuration.json", lambda: _json(configuration(settings))
    yield "status.json", lambda: _status(settings)
    yield "ledger.json", lambda: _ledger(collector.data_dir)
    yield "files-collector.txt", lambda: _files(collector.data_dir)
    yield "files-agent.txt", lambda: _files(agent.state_dir)
    yield "metrics-agent.txt", lambda: _metrics(agent.metrics)
    yield "metrics-collector.txt", lambda: _metrics(collector.metrics)
    for unit in ("pgwarden-agent", "pgwarden-collector"):
        yield f"journal-{unit}.txt", partial(_journal, unit)
    for number, log in enumerate(logs, 1):
        yield f"log-{number}-{log.name}", partial(_tail, log)
    if doctor:
        yield "doctor.jsonl", lambda: _doctor(config)


def write(target: Path, settings: Config, made: Iterator[Part]) -> list[str]:
    """The names in it. Raises OSError."""
    # Beside, then renamed: a file or a link that is there has its own mode and its own readers.
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            names = _archive(file, settings, made)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return names


def _archive(file: IO[bytes], settings: Config, made: Iterator[Part]) -> list[str]:
    secrets, names = secrets_of(settings), []
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, make in made:
            try:
                data = make()
            except Exception as error:  # noqa: BLE001 - the others are worth having all the same
                data = f"not made: {type(error).__name__}: {error}\n".encode()
            data = cleaned(data, secrets)
            member = tarfile.TarInfo(f"pgwarden-support/{name}")
            member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
            archive.addfile(member, io.BytesIO(data))
            names.append(name)
    return names


def _about() -> bytes:
    return _json(
        {
            "pgwarden": __version__,
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": sys.version,
            "kernel": platform.release(),
            "machine": platform.machine(),
            "processors": os.cpu_count(),
            "root": os.geteuid() == 0,
            "btf": Path("/sys/kernel/btf/vmlinux").exists(),
            "packages": dict(sorted((d.metadata["Name"], d.version) for d in distributions())),
        }
    )


def _status(settings: Config) -> bytes:
    ledger, lost = read_record(settings.collector.data_dir)
    collector = asdict(asked_collector(settings, lost))
    told = {"collector": collector["state"], "collector_says": collector["says"]}
    return _json({**told, "agents": collector["agents"], "ledger": asdict(ledger), "lost": lost})


def _ledger(data_dir: Path) -> bytes:
    """Its shape: what notes and rows say stays in the record."""
    from collector.ledger_reading import entries_since
    from collector.standing import standing

    state, problem = standing(data_dir)
    rows: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in state.files.values():
        rows[file.table] += file.rows
        sizes[file.table] += file.bytes
    newest = [
        {
            "seq": entry.seq,
            "at_us": entry.at_us,
            "reason": entry.reason,
            "files": [[file.table, file.rows, file.bytes] for file in entry.files],
            "removed": len(entry.removed),
            "sources": len(entry.sources),
            "notes": [str(note.get("kind")) for note in entry.notes],
        }
        for entry in entries_since(data_dir, max(1, state.seq - ENTRIES + 1))
    ]
    return _json(
        {
            "entries": state.seq,
            "segments": len(state.files),
            "rows": rows,
            "bytes": sizes,
            "agents": [[agent, epoch, seq] for (agent, epoch), seq in state.high_water.items()],
            "checkpoint_problem": problem,
            "newest": newest,
        }
    )


def _files(folder: Path) -> bytes:
    """Mode, owner, size, time and name. Nothing is opened."""
    lines = []
    for path in sorted(folder.rglob("*")) if folder.exists() else []:
        name = path.relative_to(folder)
        if name.parts[0] in CLOSED and len(name.parts) > 1:
            continue
        found = path.lstat()
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
        mode = stat.filemode(found.st_mode)
        lines.append(f"{mode} {found.st_uid}:{found.st_gid} {found.st_size:>12} {at} {name}")
    return "".join(f"{line}\n" for line in lines or ["(nothing)"]).encode("utf-8", "replace")


def _metrics(where: Listen) -> bytes:
    return httpx.get(f"http://{where.host}:{where.port}/metrics", timeout=5.0).content


def _journal(unit: str) -> bytes:
    if shutil.which("journalctl") is None:
        return b"no journalctl here\n"
    command = ["journalctl", "-u", unit, "-n", str(LOG_LINES), "-o", "short-iso", "--no-pager"]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS)
    return _scrubbed(_whole_lines(done.stdout[-LOG_BYTES:], len(done.stdout)))


def _tail(log: Path) -> bytes:
    with log.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - LOG_BYTES))
        return _scrubbed(_whole_lines(file.read(), size))


def _whole_lines(data: bytes, size: int) -> bytes:
    """Of what was cut: half a secret at its beginning would be none that is looked for."""
    return data if size <= LOG_BYTES else data.partition(b"\n")[2]


def _doctor(config: Path | None) -> bytes:
    command = [sys.executable, "-m", "cli.main", "doctor", "--json"]
    command += ["--config", str(config)] if config is not None else []
    done = subprocess.run(
        command, capture_output=True, timeout=TIMEOUT_SECONDS, env={**os.environ, "NO_COLOR": "1"}
    )
    return _scrubbed(done.stdout + done.stderr)


def _scrubbed(data: bytes) -> bytes:
    return text(data.decode("utf-8", "backslashreplace")).encode()


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"
