"""What the kernel walks through before it takes the probes: half of an agent's start was that."""

from pathlib import Path

import pytest

from agent.probes.loader import NESTED_PROGRAMS, PROGRAMS

pytestmark = pytest.mark.kernel

MOST = 500_000
"""Instructions in all; they were 980,000 while each loop was walked as a whole."""


def test_the_verifier_walks_through_loops_in_parts(libbpf):
    loaded = libbpf.load(1 << 20, 64, inside=NESTED_PROGRAMS)
    try:
        walked = {name: instructions(fd) for name, fd in loaded.programs.items()}
    finally:
        libbpf.unload(loaded)
    assert walked.keys() >= {*PROGRAMS, *NESTED_PROGRAMS}
    assert 0 < sum(walked.values()) < MOST, walked


def instructions(program: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{program}").read_text().splitlines()
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    if "verified_insns" not in found:
        pytest.skip("this kernel does not say (before 5.16)")
    return int(found["verified_insns"])
