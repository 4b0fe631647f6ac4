"""What every fault test has: a printed seed, and how long it may take."""

import os
import random
import subprocess

import pytest


@pytest.fixture
def seed():
    """Of this run; PGWARDEN_SEED repeats one."""
    chosen = int(os.environ.get("PGWARDEN_SEED", random.randrange(2**32)))
    print(f"seed {chosen}")
    return chosen


@pytest.fixture
def dice(seed):
    return random.Random(seed)


@pytest.fixture
def tier(request):
    """``tier(short, long)``: the one that was asked for."""
    long = request.config.getoption("--faults")
    return lambda short, many: many if long else short


@pytest.fixture
def disk(tmp_path):
    """A file system of its own of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
