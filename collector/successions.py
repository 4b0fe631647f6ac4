"""What keys of the ledger said of the ones after them, for who knows only an older one."""

from pathlib import Path

SUCCESSIONS = "successions.jsonl"
"""Copied from the ledger's notes, for agents; each line proves itself."""


def successions(data_dir: Path) -> list[bytes]:
    file = data_dir / SUCCESSIONS
    return [line for line in file.read_bytes().split(b"\n") if line] if file.exists() else []
