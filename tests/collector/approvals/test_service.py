"""Decisions over gRPC: who is let in, what an agent must have before a grant is one, what stays."""

import json
import time
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from structlog.testing import capture_logs

from agent.spool.spool import Spool
from agent.wire.approvals import grants_from_wire
from agent.wire.batch import BatchBuilder
from collector.access.door import Door, own_certificate
from collector.approvals.approvals import open_approvals
from collector.approvals.service import ApprovalsService, aliases
from collector.approvals.shares import MOST_OF_AGENT
from collector.approvals.state import NAME
from collector.columns import PoisonError
from collector.commands import Agents
from collector.intake import decode_batch
from collector.server import Server, are_private
from collector.service import UplinkService
from collector.store import Store
from config.schema import Approver, CollectorApprovals
from model.approval import ApprovalStep, Bound, Moment, Step
from protos.pgwarden.v1 import approvals_pb2 as pb
from protos.pgwarden.v1 import approvals_pb2_grpc, uplink_pb2
from tests.collector.certificates import Authority
from tests.collector.road import START_US, uplink_to
from tests.waiting import wait_until

BOUND = Bound("host-a", "main", "shop", "app", "", "ab" * 32)
NOW = Moment(START_US, 1, "boot")


def step(step=Step.REQUESTED, number=1, **fields):
    return ApprovalStep(
        f"s{number}", START_US + number, step, BOUND.code, BOUND,
        text="DELETE FROM shop.orders", relations=("shop.orders",), who=("app",), **fields,
    )  # fmt: skip


ANYBODY = CollectorApprovals()


class Agent:
    """An agent's end of the stream: keeps the grants that it is told of."""

    def __init__(self, folder):
        self.spool = Spool(folder / "spool.db", lambda *_: None)
        self.grants = []
        self.answer = "done"

    def tell(self, *steps):
        builder = BatchBuilder()
        for each in steps:
            builder.add_approval(each)
        self.spool.append(*builder.take())

    def obey(self, command):
        if command.kind == "inspect":
            return uplink_pb2.CommandResult(outcome="done", message='[{"relation": "shop.orders"}]')
        if self.answer == "done":
            self.grants = [grant for grant, _ in grants_from_wire(command.grants, "host-a", NOW)]
        return uplink_pb2.CommandResult(outcome=self.answer, message="said the agent")


class World:
    def __init__(self, folder, config=ANYBODY, tls=None):
        self.store = Store(folder / "data", self.committed, commit_seconds=0.02)
        agents = Agents()
        self.counted = []
        self.approvals = open_approvals(
            folder / "data/state", self.store, agents, lambda *step: self.counted.append(step)
        )
        uplink = UplinkService(
            self.store.segments,
            agents,
            folder / "quarantine",
            lambda agent: [
                uplink_pb2.CollectorMessage(command=each) for each in self.approvals.commands(agent)
            ],
        )
        own = own_certificate(tls.certificate if tls else None)
        named = frozenset(each.certificate for each in config.approvers if each.certificate)
        service = ApprovalsService(
            self.approvals,
            config,
            Door(own, approvers=named),
            lambda: are_private(self.server.addresses),
        )
        address = "127.0.0.1:0" if tls else f"unix:{folder}/c.sock"
        self.server = Server([address], uplink, None, tls, service)
        self.store.start()
        self.approvals.catch_up()
        self.server.start()

    @property
    def address(self):
        return self.server.addresses[0]

    def committed(self, committed):
        self.approvals.observe(committed)

    def stub(self, files=None):
        if files is None:
            return approvals_pb2_grpc.ApprovalsStub(grpc.insecure_channel(self.address))
        credentials = grpc.ssl_channel_credentials(
            files.ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
        )
        return approvals_pb2_grpc.ApprovalsStub(grpc.secure_channel(self.address, credentials))

    def steps(self):
        rows = self.store.query("SELECT step FROM approvals ORDER BY occurred_at, step")
        return [name for (name,) in rows]

    def close(self):
        self.server.stop(0.2)
        self.store.close()
        self.approvals.close()


@contextmanager
def world_at(folder, **settings):
    world = World(folder, **settings)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def agent(tmp_path):
    agent = Agent(tmp_path)
    yield agent
    agent.spool.close()


@contextmanager
def asked(folder, agent, files=None, **settings):
    """A collector with one request of a connected agent."""
    with (
        world_at(folder, **settings) as world,
        uplink_to(world.address, agent.spool, on_command=agent.obey, tls=files),
    ):
        agent.tell(step())
        wait_until(lambda: world.approvals.request(BOUND.code))
        yield world


def decide(stub, grant=True, accounts=("dba",), **fields):
    values = {"uses": 1, "lasts_us": 60_000_000, "reason": "ticket 7"} | fields
    request = pb.DecideApprovalRequest(
        request=BOUND.code.lower(), grant=grant, accounts=accounts, **values
    )
    return stub.Decide(request, timeout=10)


def denied(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_grant_is_with_the_agent_and_in_the_record_before_it_is_answered(tmp_path, agent):
    with asked(tmp_path, agent) as world:
        reply = decide(world.stub(), uses=2)
        assert (reply.done, reply.delivered, reply.by) == (True, True, "dba")
        (grant,) = agent.grants
        assert (grant.bound, grant.uses, grant.relations) == (BOUND, 2, ("shop.orders",))
        assert world.steps() == ["requested", "granted"]


def test_without_its_agent_nothing_is_granted(tmp_path, agent):
    with asked(tmp_path, agent) as world:
        pass
    with world_at(tmp_path) as world:
        reply = decide(world.stub())
        assert not reply.done
        assert "not connected" in reply.message
        assert world.approvals.requests(decided=False) == []
        assert world.steps() == ["requested", "granted", "voided"]


def test_an_agent_that_cannot_keep_it_has_not_taken_it(tmp_path, agent):
    with asked(tmp_path, agent) as world:
        agent.answer = "failed"
        assert not decide(world.stub()).done
        agent.answer = "done"
        assert decide(world.stub()).done
        assert len(agent.grants) == 1


def test_a_request_that_is_dated_ahead_is_of_the_moment_in_which_it_came(tmp_path, agent):
    ahead = replace(step(), at_us=4 * 10**15)
    with (
        world_at(tmp_path) as world,
        uplink_to(world.address, agent.spool, on_command=agent.obey),
    ):
        agent.tell(ahead)
        wait_until(lambda: world.approvals.request(BOUND.code))
        shown = world.approvals.request(BOUND.code)
    assert max(shown["first_us"], shown["last_us"]) <= time.time_ns() // 1000


def test_requests_that_are_pushed_out_are_counted_logged_and_told(tmp_path, agent):
    more = 7
    digests = (f"{number:064x}" for number in range(MOST_OF_AGENT + more))
    bounds = (replace(BOUND, digest=digest) for digest in digests)
    at_us = time.time_ns() // 1000
    with (
        world_at(tmp_path) as world,
        uplink_to(world.address, agent.spool, on_command=agent.obey),
        capture_logs() as logs,
    ):
        agent.tell(
            *(
                replace(step(number=number), at_us=at_us, bound=bound, request=bound.code)
                for number, bound in enumerate(bounds)
            )
        )
        wait_until(lambda: world.approvals.pending() == MOST_OF_AGENT + more)
        for _ in range(2):
            world.approvals.tick()
        assert world.approvals.pending() == MOST_OF_AGENT
        assert world.approvals.pushed_out.total() == more
        (sentence,) = world.approvals.problems_of("host-a")
        assert sentence.startswith(f"{more} requests for approval were pushed out")
        assert world.approvals.problems_of("host-b") == []
    told = [each for each in logs if each["event"] == "approvals.pushed_out"]
    assert [(each["agent"], each["requests"]) for each in told] == [("host-a", more)]


def test_uses_end_a_grant_and_each_step_is_counted(tmp_path, agent):
    with asked(tmp_path, agent) as world:
        decide(world.stub())
        agent.tell(step(Step.USED, 5, grant=agent.grants[0].id))
        wait_until(lambda: world.approvals.request(BOUND.code)["status"] == "used")
        assert [name for name, _ in world.counted] == ["requested", "granted", "used"]


def test_taking_back_reaches_the_agent(tmp_path, agent):
    with asked(tmp_path, agent) as world:
        decide(world.stub())
        reply = decide(world.stub(), grant=False)
        assert (reply.done, reply.delivered, agent.grants) == (True, True, [])


def test_an_agent_that_connects_hears_which_grants_live(tmp_path, agent):
    with asked(tmp_path, agent) as world:
        decide(world.stub())
        agent.grants = []
    with (
        world_at(tmp_path) as world,
        uplink_to(world.address, agent.spool, on_command=agent.obey),
    ):
        wait_until(lambda: agent.grants)
        assert agent.grants[0].bound == BOUND


def test_what_the_book_missed_is_read_back_from_the_record(tmp_path, agent):
    with asked(tmp_path, agent):
        pass
    for file in (tmp_path / "data/state").glob(f"{NAME}*"):
        file.unlink()
    with world_at(tmp_path) as world:
        (found,) = world.approvals.requests(decided=False)
        assert found["request"] == BOUND.code


def test_an_event_that_a_crash_kept_from_the_record_is_said_at_the_next_start(tmp_path, agent):
    with asked(tmp_path, agent) as world:
        world.approvals._store = type("Nothing", (), {"append": lambda *_: None})()
        world.approvals._store.segments = type("Full", (), {"flush": lambda *_: False})()
        world.approvals._store.data_dir = world.store.data_dir
        assert decide(world.stub()).done
        assert world.steps() == ["requested"]
    with world_at(tmp_path) as world:
        assert world.store.segments.flush()
        assert world.steps() == ["requested", "granted"]


@pytest.mark.parametrize("accounts", [("app",), ("dba", "APP")])
def test_who_sent_it_may_not_grant_it_whatever_account_comes_first(tmp_path, agent, accounts):
    with asked(tmp_path, agent) as world:
        reply = decide(world.stub(), accounts=accounts)
        assert not reply.done
        assert "nobody grants their own" in reply.message
        assert world.steps() == ["requested", "refused_self"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"uses": 0}, "uses must be"),
        ({"uses": 101}, "uses must be"),
        ({"lasts_us": 0}, "at most"),
        ({"lasts_us": 86_401_000_000}, "at most"),
        ({"reason": " "}, "say why"),
    ],
)
def test_a_decision_within_no_bounds_is_none(tmp_path, agent, fields, problem):
    with asked(tmp_path, agent) as world:
        reply = decide(world.stub(), **fields)
        assert not reply.done
        assert problem in reply.message


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o777])
def test_where_nobody_is_listed_a_socket_that_others_may_open_decides_nothing(
    tmp_path, agent, mode
):
    with asked(tmp_path, agent) as world:
        socket, stub = tmp_path / "c.sock", world.stub()
        socket.chmod(mode)
        for grant in (True, False):
            assert denied(lambda grant=grant: decide(stub, grant=grant))
        assert world.steps() == ["requested"]
        socket.chmod(0o600)
        decide(stub)
        assert "granted" in world.steps()


def test_only_listed_accounts_decide_where_there_is_a_list(tmp_path, agent):
    config = CollectorApprovals(approvers=[Approver(name="alice", account="asmith")])
    with asked(tmp_path, agent, config=config) as world:
        assert denied(lambda: decide(world.stub(), accounts=("root",)))
        assert decide(world.stub(), accounts=("root", "asmith")).by == "alice"


def test_over_the_network_a_certificate_decides_and_a_claimed_account_does_not(tmp_path, agent):
    authority = Authority(tmp_path / "tls")
    own, alice, host = map(authority.issue, ("collector", "alice", "host-a"))
    config = CollectorApprovals(
        approvers=[
            Approver(name="Alice", certificate="alice"),
            Approver(name="bob", account="bob"),
        ]
    )
    with asked(tmp_path, agent, files=host, config=config, tls=own) as world:
        assert denied(lambda: world.stub(host).List(pb.ListApprovalsRequest(), timeout=5))
        assert denied(lambda: decide(world.stub(host), accounts=("bob",)))
        assert denied(lambda: decide(world.stub(authority.issue("eve")), accounts=("bob",)))
        assert decide(world.stub(alice), accounts=("bob",)).by == "Alice"


@pytest.mark.parametrize(
    "approvers",
    [
        [Approver(name="bob", certificate="bob-laptop", account="APP")],
        [Approver(name="app", certificate="bob-laptop")],
        [Approver(name="bob", certificate="bob-laptop"), Approver(name="Bob", account="app")],
    ],
    ids=["account", "name", "another_entry"],
)
def test_nobody_grants_their_own_under_another_name_of_the_list(tmp_path, agent, approvers):
    authority = Authority(tmp_path / "tls")
    own, bob, host = map(authority.issue, ("collector", "bob-laptop", "host-a"))
    config = CollectorApprovals(approvers=approvers)
    with asked(tmp_path, agent, files=host, config=config, tls=own) as world:
        reply = decide(world.stub(bob), accounts=())
        assert not reply.done
        assert "nobody grants their own" in reply.message
        assert agent.grants == []
        assert world.steps() == ["requested", "refused_self"]


def test_the_certificate_of_an_approver_who_comes_with_an_account_is_theirs_too(tmp_path, agent):
    config = CollectorApprovals(approvers=[Approver(name="bob", certificate="app", account="bs")])
    with asked(tmp_path, agent, config=config) as world:
        assert "nobody grants their own" in decide(world.stub(), accounts=("bs",)).message


def test_names_that_belong_together_are_found_over_any_number_of_entries():
    listed = [
        Approver(name="carol", account="cc"),
        Approver(name="C", account="cc", certificate="laptop"),
        Approver(name="dave", account="dd"),
        Approver(name="c", certificate="phone"),
    ]
    assert set(aliases(listed, ("phone", ""))) == {"phone", "c", "cc", "laptop", "carol"}
    assert aliases(listed, ("eve",)) == ("eve",)


def test_show_says_what_the_record_and_the_server_know(tmp_path, agent):
    with asked(tmp_path, agent) as world:
        world.store.append(
            "statements",
            [
                {
                    "agent": "host-a", "id": 1, "started_at": world.approvals._now().wall_us,
                    "cluster": "main", "database": "shop", "user_name": "report", "executions": 4,
                    "reads": ["orders"], "writes": [], "sqlstate": "00000", "identity_name": "",
                }
            ],
        )  # fmt: skip
        assert world.store.segments.flush()
        reply = world.stub().Show(pb.ShowApprovalRequest(request=BOUND.code), timeout=10)
        (use,) = map(json.loads, reply.readers_json)
        assert (use["user_name"], use["how"], use["times"]) == ("report", "read", 4)
        assert json.loads(reply.catalog_json) == [{"relation": "shop.orders"}]


@pytest.mark.parametrize("claimed", [Step.GRANTED, Step.DENIED, Step.EXPIRED])
def test_a_step_that_only_people_or_the_collector_take_is_not_taken_from_an_agent(claimed):
    builder = BatchBuilder()
    builder.add_approval(step(claimed))
    (payload,) = builder.take()
    with pytest.raises(PoisonError, match="no agent takes"):
        decode_batch(uplink_pb2.Batch.FromString(payload.body), "host-a")
