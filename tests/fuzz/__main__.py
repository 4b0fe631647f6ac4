"""``python -m tests.fuzz --seconds N``: targets in turn, until so much processor time is spent.

Its own processor time alone: a busy machine makes it last longer, never shorter, and what the
parser's worker spends comes on top.
What fails is written to ``build/fuzz/TARGET-HASH`` and the exit code is 1. ``--replay FILE`` plays
one again; a finding that was mended belongs into ``tests/fuzz/corpus/TARGET/``.
"""

import argparse
import hashlib
import logging
import random
import sys
import time
import traceback
from pathlib import Path

import structlog
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.mutation import near, seeds
from tests.fuzz.targets import TARGETS, Target, close

FOUND = Path("build/fuzz")
AT_ONCE = 400
"""Inputs of one target before the next has its turn."""
EVERYTHING = list(HealthCheck)


def play(name: str, number: int, count: int) -> tuple[int, bytes | None]:
    """How many inputs were tried, and the smallest that fails."""
    target: Target = TARGETS[name]
    last = [b""]
    tried = [0]

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=EVERYTHING,
        phases=(Phase.generate, Phase.shrink),
    )
    @given(near(seeds(name)))
    def run(data: bytes) -> None:
        last[0] = data
        tried[0] += 1
        target(data)

    try:
        run()
    except Exception:  # noqa: BLE001 - this is what is looked for
        traceback.print_exc()
        return tried[0], last[0]
    return tried[0], None


def keep(name: str, data: bytes) -> Path:
    FOUND.mkdir(parents=True, exist_ok=True)
    file = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    return file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--target", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--replay", type=Path, help="TARGET-HASH, as build/fuzz has it")
    options = parser.parse_args()
    if options.replay is not None:
        TARGETS[options.replay.name.split("-")[0]](options.replay.read_bytes())
        print("it does not fail any more")
        return 0
    print(f"seed {options.seed}", flush=True)
    # What is refused is logged, and here that is nearly everything.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    dice = random.Random(options.seed)
    tried, found = dict.fromkeys(options.target, 0), []
    until = time.process_time() + options.seconds
    while time.process_time() < until:
        for name in options.target:
            count, failing = play(name, dice.randrange(2**32), AT_ONCE)
            tried[name] += count
            if failing is not None:
                found.append(keep(name, failing))
                print(f"✗ {name}: {found[-1]}", flush=True)
            if time.process_time() >= until:
                break
    close()
    for name, count in tried.items():
        print(f"{name:14}{count:>10} inputs")
    spent = options.seconds + time.process_time() - until
    print(f"{len(found)} findings, {spent:.0f} s of processor time without the parser's worker")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
