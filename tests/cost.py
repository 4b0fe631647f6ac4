"""What test files cost in processor time, whatever else the machine does meanwhile.

``python -m tests.cost FILE ... [--json FILE]`` plays each file by itself in a control group of its
own, so that the servers, agents and compilers which a test starts are counted as well, also those
that leave their parent. Needs root and control groups of version 2.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

LOOK_SECONDS = 0.1
TICK_SECONDS = 0.01
SHOWN = 8
AS_RUN = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""As ``./run`` plays them: what is compiled is kept."""
PROGRAM = re.compile(r"cli\.main (\S+)|-m (\S+)|^(postgres|initdb|pg_ctl)\b")


@dataclass
class Cost:
    file: str
    seconds: float
    processor_seconds: float
    kernel_seconds: float
    passed: bool
    programs: dict[str, float] = field(default_factory=dict)
    """Of those that lived long enough to be seen; the others are ``short``."""


def cost_of(file: str) -> Cost:
    group = Path(tempfile.mkdtemp(prefix="pgwarden-cost-", dir=_groups()))
    try:
        return _play(file, group)
    finally:
        _wait_empty(group)
        group.rmdir()


def _play(file: str, group: Path) -> Cost:
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    enter = f'echo $$ > {group}/cgroup.procs; exec "$@"'
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["sh", "-c", enter, "sh", *command], env=AS_RUN, stdout=output, stderr=output
        )
        seen: dict[int, tuple[str, float]] = {}
        while process.poll() is None:
            _look(group, seen)
            time.sleep(LOOK_SECONDS)
        if process.returncode:
            output.seek(0)
            print(output.read().decode(errors="replace")[-3000:], file=sys.stderr)
    used = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    total = int(used["usage_usec"]) / 1e6
    programs: Counter[str] = Counter()
    for name, seconds in seen.values():
        programs[name] += seconds
    programs["short"] = total - sum(programs.values())
    return Cost(
        file,
        round(time.monotonic() - begun, 1),
        round(total, 1),
        round(int(used["system_usec"]) / 1e6, 1),
        process.returncode == 0,
        {name: round(seconds, 1) for name, seconds in programs.most_common(SHOWN)},
    )


def _look(group: Path, seen: dict[int, tuple[str, float]]) -> None:
    for pid in map(int, (group / "cgroup.procs").read_text().split()):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        name = _name(words.decode(errors="replace")) or seen.get(pid, ("", 0.0))[0]
        seen[pid] = name, (int(stat[11]) + int(stat[12])) * TICK_SECONDS


def _name(command: str) -> str:
    found = PROGRAM.search(command.replace("/", " ") if "postgres" in command else command)
    if found:
        return next(part for part in found.groups() if part)
    return Path(command.split(maxsplit=1)[0]).name if command.strip() else ""


def _wait_empty(group: Path) -> None:
    limit = time.monotonic() + 10
    while (group / "cgroup.procs").read_text() and time.monotonic() < limit:
        time.sleep(LOOK_SECONDS)


def _groups() -> str:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return where
    raise SystemExit("control groups of version 2 are not mounted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    costs = []
    for file in asked.files:
        costs.append(cost := cost_of(file))
        programs = ", ".join(f"{name} {spent}" for name, spent in cost.programs.items())
        print(
            f"{cost.processor_seconds:7.1f} s of processor time ({cost.kernel_seconds:.1f} in the"
            f" kernel), {cost.seconds:6.1f} s  {file}{'' if cost.passed else '  FAILED'}\n"
            f"          {programs}",
            flush=True,
        )
    if asked.json:
        asked.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1))


if __name__ == "__main__":
    main()
