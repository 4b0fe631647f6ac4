"""Agents sign the ledger's heads too, and find out when it is not the one that they signed."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.spool.spool import Spool
from agent.witness import KEPT_LINES, KEY, Witness, open_witness
from agent.witness_key import signed_here
from collector import cosigning, pgwarden_verify
from collector.commands import Agents
from collector.cosigning import Cosigning
from collector.heads import Sealing
from collector.pgwarden_verify import COSIGNED, COSIGNERS, check_folder, public_keys
from collector.server import Server
from collector.service import UplinkService
from collector.store import Store
from protos.pgwarden.v1 import uplink_pb2 as pb
from protos.versions import PROTOCOL
from tests.collector.road import START_US, uplink_to
from tests.waiting import wait_until

HELLO = pb.Hello(agent="host-a", epoch=1, protocol=PROTOCOL)


class World:
    """A collector that asks for signatures, without a network where the test needs none."""

    def __init__(self, folder, **sealing):
        self.store = Store(
            folder, commit_seconds=0.005, sealing=Sealing(entries=10**6, seconds=10**6, **sealing)
        )
        self.store.tidying.looked_at = float("inf")
        self.cosigning = Cosigning(
            folder,
            self.store.ledger.tip,
            self.store.heads.public_key,
            lambda: self.store.heads.newest,
            self.store.note_change,
            0.0,
        )
        self.store.start()

    def grow(self, entries=1):
        for _ in range(entries):
            row = {"occurred_at": START_US, "source": "t", "reason": "r", "count": 1}
            self.store.append("losses", [row])
            assert self.store.segments.flush()
        assert self.store.heads.sign()

    def ask(self, witness, agent="host-a"):
        """What a newly connected agent answers; None: it was asked for nothing."""
        hello = pb.Hello(agent=agent, epoch=1, protocol=PROTOCOL, witness_size=witness.size)
        answer = None
        for message in self.cosigning.greet(hello):
            answer = witness.observe(message.head) or answer
        if answer is not None:
            self.cosigning.answered(agent, answer)
        return answer

    def close(self):
        self.store.close()


@contextmanager
def world_at(folder, **sealing):
    world = World(folder, **sealing)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def witness(tmp_path):
    (tmp_path / "agent").mkdir()
    return Witness(tmp_path / "agent", "host-a", signed_here)


def private(witness):
    return load_pem_private_key((witness._folder / KEY).read_bytes(), None)


def outside(tmp_path):
    return tmp_path / "agent/witness.jsonl"


def test_an_agent_signs_what_goes_on_from_what_it_signed_before(tmp_path, witness):
    with world_at(tmp_path / "data") as world:
        for _ in range(3):
            world.grow(5)
            answer = world.ask(witness)
            assert (answer.refused, answer.size) == ("", world.store.heads.signed[0])
        signed = world.store.heads.signed[0]
        world.grow()
    report = check_folder(tmp_path / "data", outside(tmp_path))
    assert report.problems == []
    assert report.cosigned == {f"host-a ({pgwarden_key(witness)})": signed}


def test_the_verifier_checks_co_signatures_without_pgwarden(tmp_path, witness):
    with world_at(tmp_path / "data") as world:
        world.grow(3)
        world.ask(witness)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(pgwarden_verify.__file__, alone)
    shutil.copy(tmp_path / "data" / COSIGNERS, alone / "agents.pub")

    def verify():
        return subprocess.run(
            [
                sys.executable, "-I", "pgwarden_verify.py", str(tmp_path / "data"),
                "--heads", str(outside(tmp_path)), "--cosigners", "agents.pub",
            ],
            cwd=alone, capture_output=True, text=True,
        )  # fmt: skip

    good = verify()
    assert good.returncode == 0, good.stdout
    assert f"host-a ({pgwarden_key(witness)}) signed 3 entries" in good.stdout
    (tmp_path / "data" / COSIGNED).unlink()
    outside(tmp_path).write_bytes(b"")
    missing = verify()
    assert missing.returncode == 1
    assert "no head of this is signed by the key" in missing.stdout
    assert pgwarden_key(witness) in missing.stdout


def test_a_ledger_that_was_rolled_back_whole_is_found_by_agent_and_by_auditor(tmp_path, witness):
    data = tmp_path / "data"
    with world_at(data) as world:
        world.grow(5)
        world.ask(witness)
    shutil.copytree(data, tmp_path / "monday")
    with world_at(data) as world:
        world.grow(5)
        assert not world.ask(witness).refused
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "monday", data)
    assert check_folder(data).problems == []
    assert any("entries signed" in each for each in check_folder(data, outside(tmp_path)).problems)
    with world_at(data) as world:
        answer = world.ask(witness)
        assert "now has" in answer.refused
        assert witness.problem == answer.refused
        world.grow(9)  # as long as before, and another one
        answer = world.ask(witness)
        assert "is not the one" in answer.refused
        assert world.store.segments.flush()
    notes = [
        note
        for line in (data / "ledger.jsonl").read_text().splitlines()
        for note in json.loads(line).get("notes", ())
    ]
    assert "cosigning_refused" in [note["kind"] for note in notes]
    assert check_folder(data, outside(tmp_path)).problems != []


def test_who_has_the_ledgers_key_cannot_make_an_agents_signature(tmp_path, witness):
    data = tmp_path / "data"
    with world_at(data) as world:
        world.grow(5)
        world.ask(witness)
        key = (data / "ledger.key").read_bytes()
    line = (data / COSIGNED).read_bytes()
    assert key
    forged = json.loads(line)
    forged["agent"] = "host-b"
    (data / COSIGNED).write_bytes(pgwarden_verify.canonical(forged) + b"\n")
    assert any("not valid" in each for each in check_folder(data).problems)
    (data / COSIGNED).write_bytes(line)
    assert check_folder(data).problems == []


def test_an_agents_key_signs_no_head_of_the_ledger(tmp_path, witness):
    """Else whoever owns one agent could tell the auditor of another ledger."""
    data = tmp_path / "data"
    with world_at(data) as world:
        world.grow(2)
        world.ask(witness)
    head = json.loads((data / "heads.jsonl").read_bytes().splitlines()[-1])
    del head["sig"]
    for name in (head["key"], "agent:" + pgwarden_key(witness), pgwarden_key(witness)):
        head["key"] = name
        signature = private(witness).sign(pgwarden_verify.CONTEXT + pgwarden_verify.canonical(head))
        forged = pgwarden_verify.canonical({**head, "sig": signature.hex()})
        (tmp_path / "told").write_bytes(forged + b"\n")
        assert check_folder(data, tmp_path / "told").problems != []


def pgwarden_key(witness):
    from collector.heads import key_id

    return key_id(private(witness).public_key())


def test_an_agent_remembers_over_restarts_and_trusts_no_other_key(tmp_path, witness):
    with world_at(tmp_path / "data") as world:
        world.grow(3)
        world.ask(witness)
    again = Witness(tmp_path / "agent", "host-a", signed_here)
    assert again.size == witness.size == 3
    with world_at(tmp_path / "elsewhere") as world:
        world.grow(9)
        assert "key is not the one" in world.ask(again).refused
    assert again.size == 3


def test_an_agent_that_was_away_for_long_gets_the_leaves_from_the_file_in_parts(
    tmp_path, witness, monkeypatch
):
    monkeypatch.setattr(cosigning, "RECENT_LEAVES", 4)
    monkeypatch.setattr(cosigning, "MESSAGE_LEAVES", 3)
    with world_at(tmp_path / "data") as world:
        world.grow(2)
        world.ask(witness)
        world.grow(20)
        hello = pb.Hello(agent="host-a", epoch=1, protocol=PROTOCOL, witness_size=2)
        assert len(world.cosigning.greet(hello)) == 7
        answer = world.ask(witness)
        assert (answer.refused, answer.size) == ("", world.store.heads.signed[0])


@pytest.mark.parametrize("damage", ["leaf", "line", "key", "from_size", "cut", "peaks"])
def test_a_lying_collector_gets_no_signature(tmp_path, witness, damage):
    with world_at(tmp_path / "data") as world:
        world.grow(3)
        if damage != "peaks":
            world.ask(witness)
        world.grow(3)
        hello = pb.Hello(agent="host-a", epoch=1, protocol=PROTOCOL, witness_size=witness.size)
        (message,) = world.cosigning.greet(hello)
        head = message.head
        if damage == "leaf":
            head.leaves = bytes(32) + head.leaves[32:]
        elif damage == "line":
            head.line = head.line.replace(b'"size":', b'"size":1')
        elif damage == "key":
            head.ledger_key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        elif damage == "from_size":
            head.from_size += 1
        elif damage == "cut":
            head.leaves = head.leaves[:-1]
        else:
            head.peaks = bytes(len(head.peaks))
        before = witness.size
        answer = witness.observe(head)
        assert answer.refused
        assert not answer.line
        assert witness.size == before
        assert not world.ask(witness).refused  # the truth is still taken


@pytest.mark.parametrize("damage", ["name", "head", "signature", "nothing"])
def test_what_a_hostile_agent_sends_is_not_kept(tmp_path, witness, damage):
    with world_at(tmp_path / "data") as world:
        world.grow(3)
        hello = pb.Hello(agent="host-a", epoch=1, protocol=PROTOCOL)
        (message,) = world.cosigning.greet(hello)
        answer = witness.observe(message.head)
        if damage == "head":
            fields = json.loads(answer.line)
            fields["head"]["size"] = 10**9
            del fields["sig"]
            sig = private(witness).sign(
                pgwarden_verify.COSIGN_CONTEXT + pgwarden_verify.canonical(fields)
            )
            answer.line = pgwarden_verify.canonical({**fields, "sig": sig.hex()})
        elif damage == "signature":
            answer.line = answer.line.replace(b'"sig":"', b'"sig":"00')
        elif damage == "nothing":
            answer = pb.Witnessed(line=b"\xff", key=b"x")
        world.cosigning.answered("host-b" if damage == "name" else "host-a", answer)
        assert not (tmp_path / "data" / COSIGNED).exists()


def test_over_the_wire_each_agent_is_asked_again_and_again(tmp_path, witness):
    with world_at(tmp_path / "data") as world:
        world.grow(2)
        agents = Agents()
        uplink = UplinkService(world.store.segments, agents, tmp_path, cosigning=world.cosigning)
        server = Server([f"unix:{tmp_path}/c.sock"], uplink)
        server.start()
        spool = Spool(tmp_path / "spool.db", lambda *_: None)
        with uplink_to(server.addresses[0], spool, witness=witness):
            wait_until(lambda: witness.size == world.store.heads.signed[0], 30)
            world.grow(3)
            world.cosigning.turn(agents.tell)
            wait_until(lambda: witness.size == world.store.heads.signed[0], 30)
            wait_until(lambda: world.cosigning.cosigned == witness.size, 30)
        spool.close()
        server.stop(0.2)


def test_an_agent_signs_in_a_process_of_its_own_and_loads_no_cryptography(tmp_path):
    with world_at(tmp_path / "data") as world:
        world.grow(2)
        (message,) = world.cosigning.greet(HELLO)
        sent = message.head.SerializeToString().hex()
        code = (
            "import sys; from pathlib import Path; from agent.witness import Witness\n"
            "from protos.pgwarden.v1 import uplink_pb2 as pb\n"
            f"head = pb.Head.FromString(bytes.fromhex('{sent}'))\n"
            f"answer = Witness(Path({str(tmp_path)!r}), 'host-a').observe(head)\n"
            "assert 'cryptography' not in sys.modules\n"
            "print(answer.SerializeToString().hex())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answer = pb.Witnessed.FromString(bytes.fromhex(done.stdout))
        assert answer.refused == ""
        world.cosigning.answered("host-a", answer)
        assert world.cosigning.cosigned == 2
    assert (tmp_path / "witness.key").stat().st_mode & 0o777 == 0o600


def test_an_agent_cannot_fill_the_disk_with_keys(tmp_path, monkeypatch):
    with world_at(tmp_path / "data") as world:
        world.grow(2)
        (message,) = world.cosigning.greet(HELLO)
        head = json.loads(message.head.line)

        def answer(folder):
            (tmp_path / folder).mkdir(exist_ok=True)
            line, key = signed_here(
                tmp_path / folder / "key", "host-a", 1, head, world.store.heads.public_key
            )
            world.cosigning.answered("host-a", pb.Witnessed(size=2, line=line, key=key))
            return line

        first = answer("first")
        for number in range(50):
            answer(f"fresh-{number}")
        file = tmp_path / "data" / COSIGNERS
        assert len(public_keys(file.read_bytes())) == 1
        assert (tmp_path / "data" / COSIGNED).read_bytes() == first + b"\n"
        assert "yet another key" in world.cosigning.refusals["host-a"]
        answer("first")
        assert world.cosigning.refusals == {}
        monkeypatch.setattr(cosigning, "KEY_SECONDS", 0.0)
        answer("fresh-0")  # the host was set up anew
        assert len(public_keys(file.read_bytes())) == 2


def test_an_older_agent_is_asked_for_nothing(tmp_path):
    with world_at(tmp_path / "data") as world:
        world.grow()
        assert world.cosigning.greet(pb.Hello(agent="old", epoch=1)) == []


def test_a_witness_that_cannot_sign_is_said_and_stops_nothing(tmp_path):
    (tmp_path / "witness.json").write_text("{")
    degraded = []
    assert open_witness(tmp_path, "host-a", degraded) is None
    assert "damaged" in degraded[0]


def test_what_an_agent_keeps_is_bounded(tmp_path, witness, monkeypatch):
    from agent import witness as module

    monkeypatch.setattr(module, "KEPT_LINES", 5)
    assert KEPT_LINES > 5
    with world_at(tmp_path / "data") as world:
        for _ in range(23):
            world.grow()
            world.ask(witness)
        lines = outside(tmp_path).read_bytes().splitlines()
        assert 5 <= len(lines) <= 11
        assert json.loads(lines[-1])["head"]["size"] == world.store.heads.signed[0] >= 23
