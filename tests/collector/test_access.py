"""Who may ask the collector what, and that each access is in the record."""

import json
import os
from contextlib import contextmanager

import grpc
import pytest

from collector.access.door import Door
from collector.access.journal import MAX_KINDS, Access, Journal
from collector.access.service import AccessService
from collector.access.tokens import TokenError, Tokens
from collector.approvals.service import ApprovalsService
from collector.commands import Agents
from collector.ledger_entry import decode
from collector.operator_service import OperatorService, Tails
from collector.server import Server
from collector.service import UplinkService
from collector.sessions import LiveSessions
from collector.store import Store
from config.schema import Approver, CollectorApprovals
from model.access import RIGHTS, AccessRole
from model.certified import Role
from protos.pgwarden.v1 import (
    access_pb2,
    access_pb2_grpc,
    approvals_pb2,
    approvals_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
)
from tests.collector.authority import Pki, guarded_collector

HOUR_US = 3_600_000_000


class Book:
    """Stands where approvals are; knows who decided."""

    def __init__(self):
        self.who = []

    def requests(self, decided):
        return []

    def deny(self, code, who, reason):
        self.who.append(who)
        return True, ""


class World:
    def __init__(self, folder, approvers=()):
        self.store = Store(folder / "data", commit_seconds=0.01)
        self.tokens, self.journal = Tokens(self.store.data_dir), Journal()
        door = Door(tokens=self.tokens, journal=self.journal)
        agents, self.book = Agents(), Book()
        config = CollectorApprovals(approvers=list(approvers))
        self.server = Server(
            [f"unix:{folder}/c.sock", "127.0.0.1:0"],
            UplinkService(self.store.segments, agents, folder),
            OperatorService(agents, LiveSessions(), Tails(), door=door),
            None,
            ApprovalsService(self.book, config, door),
            AccessService(self.tokens, door, self.store),
        )
        self.store.start()
        self.server.start()
        self.socket, self.port = self.server.addresses

    def close(self):
        self.server.stop(0.2)
        self.store.close()

    def token(self, role, name="alice", lasts_us=HOUR_US):
        return self.tokens.issue(name, role, lasts_us, "root")

    def rows(self):
        self.store.append("accesses", self.journal.drain(whole=True))
        assert self.store.segments.flush()
        return self.store.query(
            "SELECT name, role, via, method, outcome, count FROM accesses ORDER BY occurred_at"
        )

    def notes(self):
        lines = (self.store.data_dir / "ledger.jsonl").read_text().splitlines()
        return [note for line in lines for note in decode(line).notes]


@contextmanager
def world_at(folder, **settings):
    world = World(folder, **settings)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world(tmp_path):
    with world_at(tmp_path) as world:
        yield world


CALLS = {
    "Operator.Agents": (operator_pb2_grpc.OperatorStub, operator_pb2.AgentsRequest()),
    "Operator.Sessions": (operator_pb2_grpc.OperatorStub, operator_pb2.SessionsRequest()),
    "Operator.DriftStatus": (operator_pb2_grpc.OperatorStub, operator_pb2.DriftStatusRequest()),
    "Operator.Thresholds": (operator_pb2_grpc.OperatorStub, operator_pb2.ThresholdsRequest()),
    "Operator.JudgeFinding": (operator_pb2_grpc.OperatorStub, operator_pb2.JudgeFindingRequest()),
    "Operator.DriftAccept": (operator_pb2_grpc.OperatorStub, operator_pb2.DriftAcceptRequest()),
    "Operator.Act": (operator_pb2_grpc.OperatorStub, operator_pb2.ActRequest(kind="cancel")),
    "Approvals.List": (approvals_pb2_grpc.ApprovalsStub, approvals_pb2.ListApprovalsRequest()),
    "Approvals.Decide": (
        approvals_pb2_grpc.ApprovalsStub,
        approvals_pb2.DecideApprovalRequest(request="a", reason="b"),
    ),
    "Access.Issue": (access_pb2_grpc.AccessStub, access_pb2.IssueTokenRequest()),
    "Access.List": (access_pb2_grpc.AccessStub, access_pb2.ListTokensRequest()),
    "Access.Revoke": (access_pb2_grpc.AccessStub, access_pb2.RevokeTokenRequest(token="none")),
}


def refusal(address, method, secret=""):
    """Why a call was not let in; None where it was, whatever came of it."""
    stub, request = CALLS[method]
    metadata = [("authorization", f"Bearer {secret}")] if secret else None
    with grpc.insecure_channel(address) as channel:
        try:
            getattr(stub(channel), method.partition(".")[2])(request, timeout=5, metadata=metadata)
        except grpc.RpcError as error:
            kept_out = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
            return error.code() if error.code() in kept_out else None
    return None


def test_every_method_of_every_service_has_its_roles():
    services = [
        service
        for module in (operator_pb2, approvals_pb2, access_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    assert {f"{s.name}.{method.name}" for s in services for method in s.methods} == set(RIGHTS)


@pytest.mark.parametrize("role", list(AccessRole))
def test_a_token_opens_what_its_role_may_and_nothing_else(world, role):
    secret, _ = world.token(role)
    for method in CALLS:
        expected = None if role in RIGHTS[method] else grpc.StatusCode.PERMISSION_DENIED
        assert refusal(world.port, method, secret) is expected, method


def test_without_a_token_a_loopback_port_lets_nobody_in_and_the_socket_its_owner(world):
    for method in CALLS:
        assert refusal(world.port, method) is grpc.StatusCode.PERMISSION_DENIED
        assert refusal(world.socket, method) is None


def test_a_token_decides_over_the_socket_too(world):
    secret, _ = world.token("viewer")
    assert refusal(world.socket, "Operator.Act", secret) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("damage", ["revoked", "ended", "unknown", "cut"])
def test_a_token_that_is_not_good_opens_nothing(world, damage):
    secret, token = world.token("admin", lasts_us=1 if damage == "ended" else HOUR_US)
    if damage == "revoked":
        world.tokens.revoke(token.id)
    given = {"unknown": "pgw_x", "cut": secret[:-1]}.get(damage, secret)
    assert refusal(world.port, "Operator.Agents", given) is grpc.StatusCode.UNAUTHENTICATED


def test_an_open_tail_ends_when_its_token_is_revoked(world):
    secret, token = world.token("viewer")
    with grpc.insecure_channel(world.port) as channel:
        tail = operator_pb2_grpc.OperatorStub(channel).Tail(
            operator_pb2.TailRequest(), metadata=[("authorization", f"Bearer {secret}")]
        )
        tail.initial_metadata()
        world.tokens.revoke(token.id)
        with pytest.raises(grpc.RpcError) as ended:
            next(tail)
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_secret_is_at_rest_only_as_its_hash_and_for_its_owner_only(world):
    secret, token = world.token("viewer")
    folder = world.store.data_dir / "tokens"
    assert folder.stat().st_mode & 0o777 == 0o700
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.name.startswith(token.id)
    assert not any(
        secret.encode() in path.read_bytes()
        for path in world.store.data_dir.rglob("*")
        if path.is_file()
    )


def test_issue_and_revocation_are_notes_of_the_ledger_with_who_did_it(world):
    with grpc.insecure_channel(world.socket) as channel:
        stub = access_pb2_grpc.AccessStub(channel)
        asked = access_pb2.IssueTokenRequest(
            name="bob", role="investigator", lasts_us=HOUR_US, accounts=["dba"]
        )
        reply = stub.Issue(asked)
        (listed,) = stub.List(access_pb2.ListTokensRequest()).tokens
        assert (listed.id, listed.name, listed.by) == (reply.id, "bob", "dba")
        assert refusal(world.port, "Operator.JudgeFinding", reply.secret) is None
        assert stub.Revoke(access_pb2.RevokeTokenRequest(token="bob")).ids == [reply.id]
    told = [(n["kind"], n["name"], n["role"], n["by"]) for n in world.notes()]
    assert told == [
        ("token_issued", "bob", "investigator", "dba"),
        ("token_revoked", "bob", "investigator", ""),
    ]


def test_a_token_that_the_record_does_not_know_is_none(world, monkeypatch):
    monkeypatch.setattr(world.store, "note_durably", lambda *_, **__: False)
    asked = access_pb2.IssueTokenRequest(name="bob", role="admin", lasts_us=HOUR_US)
    with grpc.insecure_channel(world.socket) as channel, pytest.raises(grpc.RpcError) as error:
        access_pb2_grpc.AccessStub(channel).Issue(asked)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert world.tokens.all() == []


def test_every_access_is_a_row_refused_ones_too(world):
    secret, _ = world.token("viewer")
    for _ in range(3):
        refusal(world.port, "Operator.Agents", secret)
    refusal(world.port, "Operator.Act", secret)
    refusal(world.port, "Access.List", "pgw_wrong")
    refusal(world.socket, "Operator.Act")
    assert world.rows() == [
        ("alice", "viewer", "token", "Operator.Agents", "allowed", 3),
        ("alice", "viewer", "token", "Operator.Act", "refused", 1),
        ("", "", "", "Access.List", "refused", 1),
        ("", "admin", "socket", "Operator.Act", "allowed", 1),
    ]


def test_a_decision_is_the_owners_of_the_token_whatever_the_client_says(tmp_path):
    with world_at(
        tmp_path, approvers=[Approver(name="carol", account="cc"), Approver(name="x", account="y")]
    ) as w:
        asked = approvals_pb2.DecideApprovalRequest(request="a", reason="b", accounts=["y"])
        for name, decides in (("carol", True), ("mallory", False)):
            secret, _ = w.token("approver", name)
            with grpc.insecure_channel(w.port) as channel:
                decide = approvals_pb2_grpc.ApprovalsStub(channel).Decide
                try:
                    decide(asked, metadata=[("authorization", f"bearer {secret}")])
                    assert decides
                except grpc.RpcError as error:
                    assert not decides
                    assert "mallory is not among" in error.details()
        (who,) = w.book.who
        assert who.by == "carol"
        assert {"carol", "cc"} <= set(who.names)  # none of which may have sent the statement


def test_what_cannot_be_issued_is_refused_with_the_reason(tmp_path):
    tokens = Tokens(tmp_path)
    for name, role, lasts, said in (
        ("", "admin", 1, "name"),
        ("a\nb", "admin", 1, "name"),
        ("a", "king", 1, "no role"),
        ("a", "admin", 0, "last"),
    ):
        with pytest.raises(TokenError, match=said):
            tokens.issue(name, role, lasts, "root")
    assert tokens.all() == []


def test_a_damaged_token_file_opens_nothing_and_hides_no_other(tmp_path):
    tokens = Tokens(tmp_path)
    secret, token = tokens.issue("a", "admin", HOUR_US, "root")
    other, _ = tokens.issue("b", "viewer", HOUR_US, "root")
    (file,) = (tmp_path / "tokens").glob(f"{token.id}*")
    os.truncate(file, 10)
    assert tokens.find(secret) is None
    assert [each.name for each in tokens.all()] == ["b"]
    assert tokens.find(other).name == "b"


def test_a_flood_of_refused_calls_is_counted_in_a_bounded_number_of_rows():
    now = [1]
    journal = Journal(lambda: now[0])
    for number in range(3 * MAX_KINDS):
        journal.add(Access("", "", "", f"10.0.0.{number}", "Operator.Tail", "refused"))
    assert journal.drain() == []
    now[0] += 6_000_000
    rows = journal.drain()
    assert len(rows) == MAX_KINDS + 1
    assert sum(row["count"] for row in rows) == 3 * MAX_KINDS
    assert journal.drain(whole=True) == []


def test_no_flood_takes_the_name_of_who_was_admitted_or_is_known():
    journal = Journal(lambda: 1)
    for number in range(3 * MAX_KINDS):
        method = f"Operator.{number % 15}"
        journal.add(Access("", "", "", f"10.0.{number}.1", method, "refused"))
    known = [
        Access("root", "admin", "token", "10.9.9.9", "Operator.Act", "allowed", "t1"),
        Access("", "admin", "socket", "", "Access.List", "allowed"),
        Access("ann", "viewer", "token", "10.9.9.9", "Operator.Act", "refused", "t2"),
    ]
    for access in known:
        journal.add(access)
    rows = journal.drain(whole=True)
    assert sum(row["count"] for row in rows) == 3 * MAX_KINDS + len(known)
    assert {row["method"] for row in rows if not row["address"] and not row["name"]} == {
        "Access.List",
        *(f"Operator.{number}" for number in range(15)),
    }, "what they were for is told of those that are folded too"
    for access in known:
        told = {name: getattr(access, name) for name in access.__slots__}
        assert [r for r in rows if told.items() <= r.items()] == [
            {**told, "occurred_at": 1, "count": 1}
        ]


def test_the_command_line_shows_its_token(world, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from cli.main import app

    config = tmp_path / "pgwarden.yaml"

    def ask(address, *words, token=""):
        config.write_text(f"collector: {{listen: ['{address}'], data_dir: {tmp_path}/data}}")
        env = {"PGWARDEN_ACCESS_TOKEN": token}
        return CliRunner().invoke(app, [*words, "--config", str(config)], env=env)

    issued = ask(world.socket, "token", "issue", "bob", "--role", "viewer", "--json")
    token = json.loads(issued.stdout)["token"]
    assert ask(world.port, "agents").exit_code == 1
    assert ask(world.port, "agents", token=token).exit_code == 0
    refused = ask(world.port, "kill", "1", token=token)
    assert refused.exit_code == 1
    (row,) = map(json.loads, ask(world.socket, "token", "list", "--json").stdout.splitlines())
    assert (row["name"], row["role"], row["state"]) == ("bob", "viewer", "good")
    assert ask(world.socket, "token", "revoke", row["id"]).exit_code == 0
    assert ask(world.port, "agents", token=token).exit_code == 1


def test_over_tls_an_operators_certificate_opens_nothing_without_a_token(tmp_path):
    pki = Pki(tmp_path)
    with guarded_collector(tmp_path, pki.issue(Role.COLLECTOR, "collector")) as running:
        secret, _ = Tokens(running.store.data_dir).issue("carol", "viewer", HOUR_US, "root")

        def ask(files, token=""):
            pem = (files.ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes())
            metadata = [("authorization", f"Bearer {token}")] if token else None
            credentials = grpc.ssl_channel_credentials(*pem)
            with grpc.secure_channel(running.address, credentials) as channel:
                stub = operator_pb2_grpc.OperatorStub(channel)
                try:
                    stub.Agents(operator_pb2.AgentsRequest(), timeout=5, metadata=metadata)
                except grpc.RpcError as error:
                    return error.code()
            return None

        carol = pki.issue(Role.OPERATOR, "carol")
        assert ask(carol) is grpc.StatusCode.PERMISSION_DENIED
        assert ask(carol, secret) is None
        assert ask(carol, "pgw_other") is grpc.StatusCode.UNAUTHENTICATED
        pki.revoke("carol")
        assert ask(carol, secret) is grpc.StatusCode.UNAUTHENTICATED
