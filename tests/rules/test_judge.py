"""The judge says which rules speak about a statement, and which one decides."""

import threading

import pytest

from model.session import IdentityKind
from model.statement import MAX_NAMES, ParseStatus
from model.verdict import RuleAction
from rules import Judge, View, decide
from rules.judge import SHAPE_ATTRIBUTES
from rules.view import FIELDS
from tests.rules.rule_files import GOOD, load, rule, shape, view

SALARIES = {"reads": ("hr.salaries",)}


def ids(matches):
    return [match.rule.id for match in matches]


def test_a_rule_matches_what_its_condition_holds_for(tmp_path):
    rules = load(tmp_path, GOOD)
    assert ids(rules.judge(view(shape(**SALARIES)))) == ["reads-salaries"]
    assert rules.judge(view(shape(reads=("hr.people",)))) == ()


@pytest.mark.parametrize(
    ("when", "facts"),
    [
        ("session.user == 'eve'", {"user": "eve"}),
        ("session.database == 'shop'", {"database": "shop"}),
        ("session.application_name == 'psql'", {"application_name": "psql"}),
        ("session.client_address.startsWith('10.')", {"client_address": "10.1.2.3"}),
        ("session.local", {"client_address": "127.0.0.1"}),
        ("session.superuser", {"superuser": True}),
        ("session.cluster == '5433'", {"cluster": "5433"}),
        ("identity.kind == 'ai_agent'", {"kind": IdentityKind.AI_AGENT}),
    ],
)
def test_a_rule_may_ask_who_sends_the_statement(tmp_path, when, facts):
    rules = load(tmp_path, rule(when))
    assert ids(rules.judge(view(shape(), **facts))) == ["r"]
    assert rules.judge(view(shape())) == ()


def test_a_login_that_is_not_known_to_be_superuser_counts_as_none(tmp_path):
    rules = load(tmp_path, rule("session.superuser"))
    judgement = rules.consider(view(shape(), superuser=None))
    assert judgement.matches == judgement.undecided == ()


def test_what_could_not_be_parsed_is_allowed_by_default(tmp_path):
    rules = load(tmp_path, GOOD)
    judgement = rules.consider(view(shape(ParseStatus.INVALID)))
    assert judgement.matches == ()
    assert [u.rule_id for u in judgement.undecided] == ["reads-salaries"]


@pytest.mark.parametrize("status", [s for s in ParseStatus if s is not ParseStatus.PARSED])
def test_what_could_not_be_parsed_is_denied_where_the_rule_says_so(tmp_path, status):
    rules = load(tmp_path, GOOD + "    unknown: deny\n")
    (match,) = rules.judge(view(shape(status)))
    assert match.unknown
    assert match.action is RuleAction.DENY
    assert status.value in match.reason


def test_a_statement_that_names_too_much_to_list_counts_as_unknown(tmp_path):
    rules = load(tmp_path, GOOD + "    unknown: deny\n")
    many = tuple(f"t{number}" for number in range(MAX_NAMES))
    assert not rules.judge(view(shape(reads=many[1:])))
    (match,) = rules.judge(view(shape(reads=many)))
    assert match.unknown
    assert "names too much" in match.reason


def test_a_rule_that_does_not_look_at_the_statement_needs_no_parse(tmp_path):
    rules = load(tmp_path, rule("session.superuser", unknown="deny"))
    judgement = rules.consider(view(shape(ParseStatus.CUT)))
    assert judgement.matches == judgement.undecided == ()


def test_a_rule_that_asks_whether_the_statement_was_parsed_decides_for_itself(tmp_path):
    rules = load(tmp_path, rule("!statement.parsed || 'drop' in statement.verbs"))
    (match,) = rules.judge(view(shape(ParseStatus.NUL)))
    assert not match.unknown


def test_an_evaluation_that_fails_counts_as_unknown(tmp_path):
    when = "statement.reads[1] == 'x'"
    one = view(shape(reads=("a",)))
    allowed = load(tmp_path, rule(when)).consider(one)
    assert allowed.matches == ()
    assert allowed.undecided[0].failed
    (match,) = load(tmp_path, rule(when, unknown="deny")).judge(one)
    assert match.unknown
    assert "could not be evaluated" in match.reason


def test_names_that_are_not_valid_text_do_not_stop_the_judge(tmp_path):
    rules = load(tmp_path, rule("session.user != ''"))
    assert ids(rules.judge(view(shape(), user="\udcff"))) == ["r"]


def test_the_strongest_action_decides(tmp_path):
    text = "".join(
        rule(id=action, action=action)
        for action in ("deny", "observe", "terminate", "cancel", "alert")
    )
    matches = load(tmp_path, text).judge(view(shape()))
    assert len(matches) == 5
    assert decide(matches).rule.id == "terminate"


def test_among_equal_actions_certainty_then_severity_then_order_decide(tmp_path):
    guess = rule("statement.reads[9] == ''", id="guess", severity="critical", unknown="deny")
    text = (
        guess
        + rule(id="low")
        + rule(id="high", severity="high")
        + rule(id="high2", severity="high")
    )
    assert decide(load(tmp_path, text).judge(view(shape()))).rule.id == "high"


def test_nothing_decides_where_nothing_matches():
    assert decide(()) is None


def test_the_judge_remembers_and_counts(tmp_path):
    judge = Judge(load(tmp_path, GOOD + "    unknown: deny\n"))
    good, bad = view(shape(**SALARIES)), view(shape(ParseStatus.INVALID, digest="e"))
    first, second = judge.judge(good), judge.judge(good)
    assert first == second
    judge.judge(bad)
    judge.judge(bad)
    counts = judge.counts()
    assert (counts.judged, counts.cached) == (4, 2)
    assert counts.unparsed == (("reads-salaries", 2),)
    assert counts.failed == ()


def test_a_remembered_judgement_is_not_used_for_somebody_else(tmp_path):
    judge = Judge(load(tmp_path, rule("identity.kind == 'ai_agent' && session.user == 'eve'")))
    assert not judge.judge(view(shape(), user="eve"))
    assert judge.judge(view(shape(), IdentityKind.AI_AGENT, user="eve"))
    assert not judge.judge(view(shape(), IdentityKind.AI_AGENT, user="adam"))


def test_sessions_that_differ_only_in_what_no_rule_asks_share_a_judgement(tmp_path):
    judge = Judge(load(tmp_path, GOOD))
    judge.judge(view(shape(), user="a", client_address="10.0.0.1"))
    judge.judge(view(shape(), user="b", client_address="10.0.0.2"))
    assert judge.counts().cached == 1


def test_a_statement_whose_parser_died_is_judged_again(tmp_path):
    judge = Judge(load(tmp_path, GOOD))
    judge.judge(view(shape(ParseStatus.FAILED)))
    assert judge.judge(view(shape(**SALARIES)))


def test_the_memory_is_bounded(tmp_path):
    judge = Judge(load(tmp_path, GOOD), capacity=2)
    for table in ("a", "b", "a", "c", "a", "b"):
        judge.judge(view(shape(reads=(table,))))
    assert judge.counts().cached == 2  # both of "a", which stayed in use; "b" had gone


def test_texts_that_differ_in_literals_alone_are_judged_once(tmp_path):
    judge = Judge(load(tmp_path, GOOD))
    for digest in ("a", "b", "c"):
        judge.judge(view(shape(digest=digest)))
    assert judge.counts().cached == 2


@pytest.mark.parametrize(
    ("when", "text_bytes", "at_us"),
    [
        ("statement.text_bytes > 5", 10, 0),
        ("time.hour == 1", 1, 3_600_000_000),
        ("statement.text_bytes > 5 && time.hour == 1", 10, 3_600_000_000),
    ],
)
def test_statements_of_one_form_are_told_apart_by_what_rules_look_at(
    tmp_path, when, text_bytes, at_us
):
    judge = Judge(load(tmp_path, f"rules:\n{rule(when)}"))
    session = view(shape()).session
    assert not judge.consider_plain(shape(digest="a"), session, 1, 0).matches
    assert judge.consider_plain(shape(digest="b"), session, text_bytes, at_us).matches


def test_statements_of_one_form_are_told_apart_by_what_they_have_brought(tmp_path):
    judge = Judge(load(tmp_path, f"rules:\n{rule('statement.usual_rows >= 1000')}"))
    session, same = view(shape()).session, shape(fingerprint="f")
    assert not judge.consider_plain(same, session, 1, 0).matches
    judge.learn(same, 5_000)
    assert judge.consider_plain(same, session, 1, 0).matches


def test_statements_without_a_plan_are_judged_as_all_others_and_counted(tmp_path):
    judge = Judge(load(tmp_path, GOOD), capacity=1)
    for user in ("eve", "bob") * 2:
        for facts, expected in ((SALARIES, ["reads-salaries"]), ({}, [])):
            asked = view(shape(digest=user, **facts), user=user)
            for _ in range(2):
                found = judge.consider_plain(asked.shape, asked.session, 1, 0)
                assert ids(found.matches) == expected
    assert judge.counts().judged == 16


def test_a_statement_without_a_plan_whose_parser_died_is_judged_again(tmp_path):
    judge = Judge(load(tmp_path, GOOD))
    session = view(shape()).session
    for _ in range(3):
        judge.consider_plain(shape(ParseStatus.FAILED), session, 1, 0)
    assert judge.counts().cached == 0
    assert sum(count for _, count in judge.counts().unparsed) == 3


@pytest.mark.parametrize("field", [name for name in FIELDS if name.startswith("statement.")])
def test_what_a_rule_may_read_of_a_statement_is_part_of_what_the_judge_remembers(field):
    class Watched:
        """A Shape that tells which of its attributes were read."""

        def __init__(self):
            self.read = set()

        def __getattr__(self, name):
            self.read.add(name)
            return getattr(shape(), name)

    watched = Watched()
    FIELDS[field].read(view(watched))
    assert {f"shape.{name}" for name in watched.read} <= set(SHAPE_ATTRIBUTES)


def test_threads_may_share_a_judge(tmp_path):
    judge = Judge(load(tmp_path, GOOD), capacity=3)
    wrong = []

    def work():
        for number in range(600):
            secret = number % 2 == 0
            reads = ("hr.salaries",) if secret else ("a",)
            if bool(judge.judge(view(shape(digest=str(number % 8), reads=reads)))) != secret:
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert judge.counts().judged == 2400


def test_a_view_tells_whether_the_statement_was_parsed():
    assert View(shape(), view(shape()).session).parsed
    assert not View(shape(ParseStatus.NUL), view(shape()).session).parsed
