"""What an operator installs carries everything that runs: probes, rules, queries."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (built,) = folder.glob("pgwarden-*.whl")
    return built


def test_the_wheel_names_the_machine_that_its_probes_are_for(wheel):
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")


@pytest.mark.parametrize(
    "pattern",
    [
        "agent/probes/postgres.bpf.o",
        "agent/probes/postgres.bpf.c",
        "agent/catalog/queries/*.sql",
        "agent/catalog/grants.sql",
        "rules/packs/*.yaml",
        "collector/drift/profiles/*.yaml",
        "protos/pgwarden/v1/*_pb2.py",
        "*.dist-info/licenses/LICENSE",
    ],
)
def test_the_wheel_carries_what_is_read_at_run_time(wheel, pattern):
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]
    assert any(name.match(pattern) for name in names), pattern


def test_the_wheel_runs_from_where_it_was_unpacked(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", "rules", "test"],
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "examples pass" in done.stdout
