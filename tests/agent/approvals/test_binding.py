"""Which refusals name a request, and what a grant makes of one."""

import pytest

from agent.approvals.binding import Approvals
from agent.approvals.desk import Desk
from agent.approvals.eyes import Eyes
from agent.approvals.requests import AGAIN_US, LONGEST_BYTES, Requests, names_of, relations_of
from agent.approvals.store import ApprovalStore
from agent.directory import Directory
from agent.guard.decision import Decision, DecisionKind
from agent.guard.hold import Settled
from agent.judge import GuardJudge
from agent.planned import Touched
from agent.sources.records import NO_TEXT
from agent.sql.client import ParserClient
from model.approval import Grant, Moment, Step, Term, bound_to
from model.event import Protocol, SessionSeen, StatementStarted
from model.session import BackendKey, Identity, IdentityKind, Peer, PeerProcess, Session
from model.statement import Source, Statement
from model.verdict import Outcome
from rules import Judge, RuleSet

NOW = Moment(1_790_000_000_000_000, 50, "boot")
BACKEND = BackendKey(4711, 1)
DELETE = b"DELETE FROM shop.orders"
NEVER = """
- id: no-orders
  title: orders
  severity: high
  action: deny
  approval: never
  when: "statement.writes.exists(w, w == 'shop.orders')"
- id: no-deletes
  title: deletes
  severity: critical
  action: deny
  when: "'delete' in statement.verbs"
- id: odd
  title: odd
  severity: high
  action: deny
  unknown: deny
  when: "statement.operation == 'nothing'"
"""
CALLS = """
- id: no-objects
  title: objects
  severity: high
  action: deny
  when: "statement.functions.exists(f, f == 'lo_create')"
"""


@pytest.fixture(scope="module")
def parser():
    with ParserClient() as parser:
        yield parser


@pytest.fixture
def desk(tmp_path):
    store = ApprovalStore(tmp_path / "approvals.db")
    steps = []
    eyes = Eyes(lambda _: "f", lambda _: [], int)
    yield Desk(store, eyes, lambda _: Session(BACKEND), steps.append, now=lambda: NOW)
    store.close()


@pytest.fixture
def ask(desk, parser, tmp_path):
    approvals = Approvals("h", desk)
    directory = Directory(lambda session: session)
    directory.observe(SessionSeen(1, BACKEND, "main", "app", "shop", "psql", "local", 0))

    def asking(
        text, rules=None, text_bytes=0, protocol=Protocol.QUERY, at_us=1, calls="", planned=None
    ):
        paths = []
        if rules:
            (tmp_path / "rules.yaml").write_text(rules)
            paths = [tmp_path / "rules.yaml"]
        judge = Judge(RuleSet.load(paths) if paths else RuleSet.load())
        guard = GuardJudge(directory, parser, lambda: judge, planned=planned, approvals=approvals)
        event = StatementStarted(
            1, BACKEND, text, text_bytes or len(text), requested_at_us=at_us, protocol=protocol,
            calls=calls, nested=bool(calls),
        )  # fmt: skip
        return guard(event), guard.at_once(event)

    return asking


def bound(text=DELETE):
    return bound_to("h", Session(BACKEND, cluster="main", user="app", database="shop"), text)


def accept(desk, text=DELETE, uses=1):
    grant = Grant("g", bound(text).code, bound(text), uses, Term.begin(NOW, 10**9))
    desk.accept([(grant, 0)])


def test_a_refusal_names_its_request_also_when_it_is_known_already(ask):
    decision, known = ask(DELETE)
    assert decision.kind is DecisionKind.DENY
    assert decision.request == bound().code
    assert known == decision


class RuleEmptiesOrders:
    """The plan of a statement whose rewrite rule deletes everything."""

    def touched(self, event, session, *, wait):
        return Touched(
            ("delete",), (), ("shop.orders",), (), (), 1.0, complete=True,
            whole=(("delete", ("shop.orders",)),),
        )  # fmt: skip


def test_what_is_refused_by_its_plan_alone_names_a_request_where_it_has_a_text(ask):
    text = b"DELETE FROM shop.closing WHERE id = 1"
    assert ask(text)[0].kind is DecisionKind.ALLOW
    refusals = ask(text, planned=RuleEmptiesOrders())
    assert [each.kind for each in refusals] == [DecisionKind.DENY] * 2
    assert [each.request for each in refusals] == [bound(text).code] * 2


def test_a_body_without_a_text_names_no_request_which_would_be_one_for_all_of_them(ask):
    decision, _ = ask(NO_TEXT, planned=RuleEmptiesOrders())
    assert (decision.kind, decision.request) == (DecisionKind.DENY, "")


def test_a_granted_statement_passes_once_and_the_kernel_is_not_told(ask, desk):
    accept(desk)
    decision, known = ask(DELETE)
    assert decision.kind is DecisionKind.ALLOW
    assert (decision.approval, decision.lasting) == ("g", False)
    assert known is None  # memory must not answer where a use has to be counted
    decision, _ = ask(DELETE, at_us=2)
    assert decision.kind is DecisionKind.DENY


def test_each_execution_in_one_message_is_a_use(ask, desk):
    accept(desk)
    assert ask(DELETE)[0].kind is DecisionKind.ALLOW
    decision, _ = ask(DELETE)
    assert (decision.kind, decision.request) == (DecisionKind.DENY, bound().code)


def test_a_call_inside_is_asked_for_once_the_grant_has_ended(ask, desk):
    text = b"SELECT lo_create(17)"
    accept(desk, text)
    call = {"rules": CALLS, "calls": "lo_create"}
    assert ask(text, CALLS)[0].approval == "g"
    assert [each.approval for each in ask(b"SELECT lo_create($1)", **call)] == ["g", "g"]
    desk._notes["g"] = "changed"
    assert [each.kind for each in ask(b"SELECT lo_create($1)", **call)] == [DecisionKind.DENY] * 2


def test_a_mistake_of_ours_leaves_the_refusal_as_it_is(ask, desk, monkeypatch):
    accept(desk)
    monkeypatch.setattr(desk, "use", lambda *_: 1 / 0)
    decision, _ = ask(DELETE)
    assert (decision.kind, decision.request) == (DecisionKind.DENY, bound().code)


def test_what_rules_allow_uses_nothing_up(ask, desk):
    accept(desk, b"SELECT 1")
    for _ in range(3):
        decision, _ = ask(b"SELECT 1")
        assert (decision.kind, decision.approval) == (DecisionKind.ALLOW, "")


def test_a_rule_that_nobody_may_overrule_keeps_its_word_beside_others(ask, desk):
    decision, known = ask(DELETE, NEVER)
    assert (decision.rule_id, decision.request, known.request) == ("no-deletes", "", "")
    accept(desk)
    assert ask(DELETE, NEVER)[0].kind is DecisionKind.DENY
    assert ask(b"DELETE FROM elsewhere", NEVER)[0].request


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (b"DROP TABLE shop.orders ***", {}),
        (DELETE + b"; ALTER ROLE app PASSWORD 'x'", {}),
        (DELETE, {"text_bytes": len(DELETE) + 1}),
        (DELETE + b" " * LONGEST_BYTES, {}),
        (DELETE, {"protocol": Protocol.REPLICATION}),
        (b"SELEC 1", {"rules": NEVER}),
    ],
    ids=["broken", "password", "cut", "long", "replication", "unknown"],
)
def test_what_an_approver_could_not_judge_names_no_request(ask, text, how):
    decision, _ = ask(text, **how)
    assert decision.kind is not DecisionKind.ALLOW
    assert decision.request == ""


def statement(text=DELETE, at_us=NOW.wall_us, session=None):
    session = session or Session(BACKEND, cluster="main", user="app", database="shop")
    return Statement(1, session, text, len(text), at_us, Source.EBPF)


def refusal(request, outcome=Outcome.PREVENTED):
    return Settled(Decision(DecisionKind.DENY, "r", request=request), outcome, 1)


def told(requests, parser, text=DELETE, outcome=Outcome.PREVENTED, **fields):
    (shape,) = parser.shapes([text], [len(text)])
    asked = statement(text, **fields)
    return requests.refused(asked, shape, "r", refusal(bound(text).code, outcome))


def test_a_request_says_what_an_approver_must_know(parser):
    text = b"DELETE FROM orders WHERE note = 'secret' AND id = $1"
    requests = Requests(lambda _: bound(text))
    step = told(requests, parser, text)
    assert (step.step, step.request) == (Step.REQUESTED, bound(text).code)
    assert step.text == "DELETE FROM orders WHERE note = ? AND id = $1"
    assert step.relations == ("orders",)
    assert step.flags == ("parameters", "redacted", "bare_names")
    full = told(Requests(lambda _: bound(text), full_text=True), parser, text)
    assert "secret" in full.text
    assert "redacted" not in full.flags


def test_the_same_request_is_told_once_a_minute_and_anew_after_a_decision(parser):
    requests = Requests(lambda _: bound())
    assert told(requests, parser)
    assert told(requests, parser, at_us=NOW.wall_us + AGAIN_US - 1) is None
    requests.forget(bound().code)
    assert told(requests, parser, at_us=NOW.wall_us + 1)
    assert told(requests, parser, at_us=NOW.wall_us + 2 * AGAIN_US)


@pytest.mark.parametrize("outcome", [None, Outcome.TOO_LATE])
def test_what_was_not_stopped_asks_for_nothing(parser, outcome):
    assert told(Requests(lambda _: bound()), parser, outcome=outcome) is None


def test_every_name_of_who_asks_is_told():
    session = Session(
        BACKEND,
        user="app",
        identity=Identity(IdentityKind.HUMAN, "alice", 0.7),
        peer=Peer(PeerProcess(7, 1000, "asmith"), certificate="/CN=Alice"),
    )
    assert names_of(session) == ("app", "alice", "asmith", "/CN=Alice", "Alice")


def test_what_a_statement_defines_counts_as_a_relation_of_it(parser):
    text = b"DROP TRIGGER audit ON public.orders"
    (shape,) = parser.shapes([text], [len(text)])
    assert relations_of(shape) == ("public.orders",)
