"""Whatever lies where a plan should be, reading it ends soon, with a Plan or a PlanError.

That real plans are read right is proven on every version in tests/kernel/test_plans.py.
"""

import contextlib
import ctypes
import os
import random
import struct
import time

import pytest

from agent.guard.plans import Plan, PlanError, read_plan
from agent.probes.plan_layouts import PLAN_LAYOUTS

ROOM = 1 << 16
SECONDS = 2.0


@pytest.fixture
def memory():
    return ctypes.create_string_buffer(ROOM)


@pytest.fixture(params=sorted(PLAN_LAYOUTS))
def layout(request):
    return PLAN_LAYOUTS[request.param]


def read(layout, address: int, *, is_list: bool) -> Plan:
    return read_plan(os.getpid(), layout, address, is_list=is_list)


@pytest.mark.parametrize("is_list", [False, True])
@pytest.mark.parametrize("address", [0, 1, 1 << 46, (1 << 64) - 8, -8])
def test_an_address_that_leads_nowhere_is_a_plan_error(layout, address, is_list):
    with pytest.raises(PlanError):
        read(layout, address, is_list=is_list)


def test_a_process_that_is_gone_is_a_plan_error(layout):
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    with pytest.raises(PlanError):
        read_plan(pid, layout, 4096, is_list=True)


def test_nothing_but_zeros_is_a_plan_error(layout, memory):
    with pytest.raises(PlanError):
        read(layout, ctypes.addressof(memory), is_list=False)


@pytest.mark.parametrize("seed", range(40))
def test_garbage_full_of_pointers_into_itself_ends_with_a_plan_or_a_plan_error(
    layout, memory, seed
):
    dice = random.Random(seed)
    base = ctypes.addressof(memory)
    words = [
        dice.choice((
            base + 8 * dice.randrange(ROOM // 8),
            (dice.choice((0, 1, 3, 600, 1 << 20)) << 32) | dice.randrange(8),
            (dice.randrange(8) << 32) | dice.randrange(8),
            dice.getrandbits(64),
        ))
        for _ in range(ROOM // 8)
    ]  # fmt: skip
    memory.raw = struct.pack(f"<{len(words)}Q", *words)
    began = time.monotonic()
    for _ in range(200):
        at = base + 8 * dice.randrange(ROOM // 8)
        with contextlib.suppress(PlanError):
            plan = read(layout, at, is_list=dice.random() < 0.5)
            assert len(plan.reads) + len(plan.writes) <= 16 * 8192
    assert time.monotonic() - began < 200 * SECONDS


def test_a_list_that_runs_in_a_circle_ends(memory):
    layout = PLAN_LAYOUTS[12]
    base = ctypes.addressof(memory)
    circle = base + 64
    ctypes.memmove(base, struct.pack("<iiQQ", 1, 1 << 20, circle, circle), 24)
    ctypes.memmove(circle, struct.pack("<QQ", circle, circle), 16)
    began = time.monotonic()
    with pytest.raises(PlanError):
        read(layout, base, is_list=True)
    assert time.monotonic() - began < SECONDS
