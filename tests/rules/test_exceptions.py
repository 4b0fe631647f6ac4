"""A rule says nothing where an exception holds, and an exception never holds by accident."""

from datetime import UTC, date, datetime

import pytest

from model.statement import ParseStatus
from model.verdict import RuleAction
from rules import Judge, TunedException, Tuning
from tests.rules.rule_files import load, problems, rule, shape, view

DROPS = "'drop' in statement.verbs"
DROP = view(shape(verbs=("drop",)), user="etl")


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def with_unless(text, **fields):
    return rule(DROPS, **fields) + f"  unless: {text}\n"


@pytest.mark.parametrize(
    "unless",
    [
        "session.user == 'etl'",
        "[session.user == 'x', session.user == 'etl']",
        "[{when: session.user == 'etl', because: it tidies up}]",
        "{when: session.user == 'etl'}",
    ],
)
def test_a_rule_is_silent_where_one_of_its_exceptions_holds(tmp_path, unless):
    rules = load(tmp_path, with_unless(unless))
    assert not rules.judge(DROP)
    assert rules.judge(view(shape(verbs=("drop",)), user="eve"))


def test_an_exception_about_what_was_not_understood_excuses_nothing(tmp_path):
    text = with_unless("\"!statement.reads.exists(r, r == 'a')\"", unknown="deny")
    rules = load(tmp_path, text)
    assert rules.judge(view(shape(ParseStatus.INVALID)))
    assert not rules.judge(DROP)


def test_who_is_excused_is_excused_for_what_was_not_understood_as_well(tmp_path):
    rules = load(tmp_path, with_unless("session.user == 'etl'", unknown="deny"))
    assert not rules.judge(view(shape(ParseStatus.INVALID), user="etl"))
    assert rules.judge(view(shape(ParseStatus.INVALID), user="eve"))


def test_an_exception_that_fails_excuses_nothing_and_is_counted(tmp_path):
    judgement = load(tmp_path, with_unless("statement.reads[7] == 'a'")).consider(DROP)
    assert judgement.matches
    assert [each.failed for each in judgement.undecided] == [True]


def test_an_exception_holds_through_its_last_day_in_the_zone_of_the_rules(tmp_path):
    text = with_unless("[{when: session.user == 'etl', until: 2026-12-31}]")
    rules = load(tmp_path, f"timezone: Europe/Berlin\nrules:\n{text}")
    judge = Judge(rules)
    for moment, matches in {
        "2026-12-31T22:59": False,
        "2026-12-31T23:00": True,
        "2026-12-31T22:58": False,
    }.items():
        assert bool(judge.judge(DROP._replace(at_us=at(moment)))) is matches, moment


def test_the_configuration_excuses_and_tunes_without_the_file(tmp_path):
    exception = TunedException("r", "session.user == 'etl'", "it tidies up", date(2026, 12, 31))
    tuning = Tuning(exceptions=[exception], actions={"r": RuleAction.DENY})
    rules = load(tmp_path, rule(DROPS), tuning=tuning)
    assert not rules.judge(DROP._replace(at_us=at("2026-01-01T00:00")))
    assert rules.judge(DROP._replace(at_us=at("2027-01-01T00:00")))
    (match,) = rules.judge(view(shape(verbs=("drop",))))
    assert match.action is RuleAction.DENY


def test_an_exception_or_action_for_a_rule_that_is_not_there_is_a_problem(tmp_path):
    tuning = Tuning(
        exceptions=[TunedException("drops", "true", "why")], actions={"dropt": RuleAction.ALERT}
    )
    assert problems(tmp_path, rule(id="drop"), tuning=tuning) == [
        "configuration: rules.exceptions.0: there is no rule 'drops'; did you mean 'drop'?",
        "configuration: rules.actions: there is no rule 'dropt'; did you mean 'drop'?",
    ]


def test_a_bad_expression_of_the_configuration_is_shown_with_its_column(tmp_path):
    tuning = Tuning(exceptions=[TunedException("r", "sesion.user == 'etl'", "why")])
    (problem,) = problems(tmp_path, rule(), tuning=tuning)
    assert problem.startswith("configuration: rule r: unless: unknown variable 'sesion'")
    assert "column 1:" in problem


@pytest.mark.parametrize(
    ("unless", "expected"),
    [
        ("[{because: x}]", "rules.yaml:7: the field 'when' is missing"),
        ("[{when: session.local, until: soon}]", "rules.yaml:7: until must be a day like"),
        ("''", "rules.yaml:7: unless is empty"),
        ("[{when: session.local, whne: x}]", "rules.yaml:7: unknown field 'whne'"),
        ("[[session.local]]", "rules.yaml:7: an exception must be a mapping"),
        ("session.usr == 'a'", "rules.yaml:7: rule r: unless: unknown field 'session.usr'"),
    ],
)
def test_a_mistake_in_an_exception_has_its_place(tmp_path, unless, expected):
    found = problems(tmp_path, with_unless(unless))
    assert any(each.startswith(expected) for each in found), found


def test_a_file_may_say_what_its_rules_do_with_unknown_statements(tmp_path):
    text = "unknown: deny\nrules:\n" + rule(DROPS) + rule(DROPS, id="s", unknown="allow")
    (match,) = load(tmp_path, text).judge(view(shape(ParseStatus.INVALID)))
    assert (match.rule.id, match.unknown) == ("r", True)
    assert problems(tmp_path, "unknown: maybe\nrules: []") == [
        "rules.yaml:1: unknown 'maybe' is unknown; known: allow, deny"
    ]
