"""The agent's spool on a disk that forgets, or remembers something else."""

import random
import shutil
import subprocess
import sys

import pytest

from agent.spool.spool import Spool
from agent.wire.batch import Payload
from tests.collector.process import ROOT
from tests.faults import traced

WRITER = """
import sys, pathlib
from agent.spool.spool import Spool
from agent.wire.batch import Payload
spool = Spool(pathlib.Path(sys.argv[1]), lambda *_: sys.exit("lost"))
for number in range(1, 61):
    body = number.to_bytes(4, "big") * (number * 137 % 2500)
    print(spool.append(Payload(body, {"statements": 1})), flush=True)
    if number % 20 == 0:
        spool.forget(number - 10)
"""


def body(number):
    return number.to_bytes(4, "big") * (number * 137 % 2500)


@pytest.fixture(scope="module")
def ops(tmp_path_factory):
    """System calls of a spool of sixty batches, most of them forgotten."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    folder = tmp_path_factory.mktemp("traced")
    command = [sys.executable, "-c", WRITER, str(folder / "spool.db")]
    trace = folder / "trace"
    subprocess.run([*traced.COMMAND, str(trace), *command], cwd=ROOT, check=True, timeout=120)
    found = list(traced.calls(trace))
    first = next(n for n, call in enumerate(found) if call.path.startswith(str(folder)))
    return found[first:]


def test_a_power_cut_takes_no_batch_of_which_the_spool_said_that_it_is_durable(
    ops, tmp_path, tier, dice
):
    assert sum(call.name == "sync" for call in ops) >= 60, "an fsync for each append"
    for number in range(tier(300, 10_000)):
        files, printed = traced.cut(ops, dice.randrange(len(ops) + 1), dice)
        folder = tmp_path / "after"
        folder.mkdir()
        for path, content in files.items():
            if not path.endswith("-shm"):
                (folder / path.rpartition("/")[2]).write_bytes(content)
        told = int(([b"0", *printed.split(b"\n")[:-1]])[-1])
        spool = Spool(folder / "spool.db", lambda *_: None)
        kept = {each.sequence: each.body for each in spool.read_from(1, 1000)}
        assert all(body(sequence) == kept[sequence] for sequence in kept), number
        missing = set(range(1, told + 1)) - kept.keys()
        assert all(sequence <= _forgotten(told) for sequence in missing), (number, told)
        assert spool.last_sequence >= told, number
        spool.close()
        shutil.rmtree(folder)


def _forgotten(told):
    """The last one that may be gone by then: forgotten after every twentieth."""
    return told // 20 * 20 - 10 if told >= 20 else 0


@pytest.mark.parametrize("part", ["", "-wal"])
def test_a_flipped_bit_never_makes_the_spool_hand_out_something_else(tmp_path, tier, dice, part):
    whole = tmp_path / "whole"
    whole.mkdir()
    spool = Spool(whole / "spool.db", lambda *_: None)
    bodies = [random.Random(number).randbytes(2000) for number in range(20)]
    for each in bodies:
        spool.append(Payload(each, {"statements": 1}))
    if not part:
        spool.close()
    files = {file.name: file.read_bytes() for file in whole.iterdir() if "-shm" not in file.name}
    for number in range(tier(60, 1000)):
        folder = tmp_path / f"flip-{number}"
        folder.mkdir()
        name = f"spool.db{part}"
        damaged = bytearray(files[name])
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        for file, data in (files | {name: bytes(damaged)}).items():
            (folder / file).write_bytes(data)
        losses = []
        opened = Spool(folder / "spool.db", lambda *loss, losses=losses: losses.append(loss))
        kept = opened.read_from(1, 1000)
        assert all(each.body == bodies[each.sequence - 1] for each in kept), number
        if not part and len(kept) < 20:
            assert losses, "what is gone is counted"
        fresh = opened.append(Payload(b"new", {"statements": 1}))
        assert opened.read_from(fresh)[-1].body == b"new"
        opened.close()
        shutil.rmtree(folder)
