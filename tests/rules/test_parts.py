"""A rule speaks about a string of statements if it does about one of them."""

import pytest

from model.statement import ParseStatus
from rules import Judge, decide
from tests.rules.rule_files import load, rule, shape, view

OWNED = shape(digest="", verbs=("drop",), roles=("clerk",))
ROLE = shape(digest="", verbs=("drop",), objects=("role:a",), roles=("a",))
GRANT = shape(digest="", verbs=("grant",), objects=("role:b",), roles=("b",))


def string(*parts, **facts):
    verbs = tuple(dict.fromkeys(verb for part in parts for verb in part.verbs))
    objects = tuple(name for part in parts for name in part.objects)
    return shape(verbs=verbs, objects=objects, parts=parts, **facts)


def ids(folder, rules, shape_):
    text = "rules:\n" + rules
    return [match.rule.id for match in load(folder, text).judge(view(shape_))]


@pytest.mark.parametrize("parts", [(OWNED, ROLE), (ROLE, OWNED), (GRANT, OWNED), (OWNED,) * 2])
def test_a_neighbour_makes_no_rule_silent(tmp_path, parts):
    when = (
        "'drop' in statement.verbs && size(statement.objects) == 0 && !('grant' in statement.verbs)"
    )
    assert ids(tmp_path, rule(when), string(*parts)) == ["r"]


def test_the_words_of_one_and_the_names_of_another_are_no_match(tmp_path):
    when = "'drop' in statement.verbs && 'role:b' in statement.objects"
    assert ids(tmp_path, rule(when), string(OWNED, GRANT)) == []


def test_an_exception_for_one_statement_excuses_no_other(tmp_path):
    unless = "\"'role:a' in statement.objects\""
    text = rule("'drop' in statement.verbs", unless=unless)
    assert ids(tmp_path, text, string(ROLE, OWNED)) == ["r"]
    assert ids(tmp_path, text, string(ROLE, GRANT)) == []


def test_the_most_severe_over_all_statements_decides(tmp_path):
    text = (
        "rules:\n"
        + rule("'drop' in statement.verbs", id="first", action="alert")
        + rule("'grant' in statement.verbs", id="second", action="deny")
    )
    matches = load(tmp_path, text).judge(view(string(OWNED, GRANT)))
    assert [match.rule.id for match in matches] == ["first", "second"]
    assert decide(matches).rule.id == "second"


def test_what_is_not_understood_of_a_string_counts_as_that_and_the_rest_as_it_is(tmp_path):
    rest = shape(ParseStatus.TOO_LONG, digest="")
    text = rule("'grant' in statement.verbs", unknown="deny")
    (match,) = load(tmp_path, "rules:\n" + text).judge(view(string(OWNED, rest)))
    assert match.unknown
    (match,) = load(tmp_path, "rules:\n" + text).judge(view(string(rest, GRANT)))
    assert not match.unknown


def test_a_limit_counts_a_string_once(tmp_path):
    text = """\
limits:
- {id: l, title: T, severity: low, action: deny, statements_per_hour: 5,
   for: "'drop' in statement.verbs"}
"""
    judgement = load(tmp_path, text).consider(view(string(OWNED, ROLE, GRANT)))
    assert [limit.rule.id for limit in judgement.limits] == ["l"]


def test_strings_that_differ_in_one_statement_are_judged_apart(tmp_path):
    """Put together their facts are the same."""
    judge = Judge(load(tmp_path, "rules:\n" + rule("size(statement.objects) == 0")))
    one = string(OWNED, ROLE)
    other = string(shape(digest="", verbs=("drop",), objects=("role:a",)), ROLE)
    assert one.judged != other.judged
    assert [len(judge.judge(view(each))) for each in (one, other)] == [1, 0]
