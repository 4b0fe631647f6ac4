"""To ask rules together first changes nothing of what they say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.event import Protocol
from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import MAX_NAMES, ParseStatus, Shape
from rules import RuleSet, View
from rules.language.cel import Program, Values
from rules.ruleset import _consider
from rules.silence import TOGETHER
from rules.view import variables

RULE = "  - {{id: r{0}, title: t, severity: low, action: deny, when: {1}}}\n"
CONDITIONS = (
    '"statement.reads[2] == \'x\'"', '"100 / size(statement.reads) > 60"', '"true"', '"false"',
    '"\'drop\' in statement.verbs"', '"statement.reads.exists(r, r.startsWith(\'hr.\'))"',
    '"session.user == \'mallory\' && !statement.parsed"',
    '"size(statement.columns) > 2 // a remark"', '"identity.kind == \'ai_agent\'"',
)  # fmt: skip
NAMES = st.lists(
    st.sampled_from(("hr.pay", "shop.orders", "pg_authid", "x", "password")), max_size=4
).map(tuple)


@st.composite
def views(draw):
    many = tuple(f"t{number}" for number in range(MAX_NAMES))
    shape = Shape(
        status=draw(st.sampled_from((ParseStatus.PARSED, ParseStatus.PARSED, ParseStatus.INVALID))),
        digest="",
        redacted_text="",
        operation="select",
        summary="SELECT",
        verbs=draw(
            st.lists(st.sampled_from(("select", "drop", "delete", "grant")), max_size=2).map(tuple)
        ),
        objects=draw(st.sampled_from(((), ("table:shop.orders",), ("role:boss",)))),
        reads=draw(st.one_of(NAMES, st.just(many))),
        writes=draw(NAMES),
        columns=draw(NAMES),
        functions=draw(st.sampled_from(((), ("pg_read_file",), ("lo_export", "now")))),
        flags=draw(
            st.lists(st.sampled_from(("missing_where", "unfiltered", "password")), max_size=2).map(
                tuple
            )
        ),
    )
    identity = Identity(draw(st.sampled_from(list(IdentityKind))), "n", 0.9, proven=True)
    session = Session(
        BackendKey(1, 1),
        "main",
        draw(st.sampled_from(("mallory", "clerk"))),
        "shop",
        "a",
        draw(st.sampled_from(("local", "10.0.0.1"))),
        superuser=draw(st.booleans()),
        identity=identity,
    )
    return View(shape, session, 20, Protocol.QUERY, partly=draw(st.booleans()))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    lines = [RULE.format(n, CONDITIONS[n % len(CONDITIONS)]) for n in range(2 * TOGETHER + 5)]
    quiet = [RULE.format(n, '"false"') for n in range(100, 100 + TOGETHER)]
    (folder / "odd.yaml").write_text("rules:\n" + "".join(quiet + lines))
    return RuleSet.load([folder])


@pytest.fixture(scope="module")
def packs():
    return RuleSet.load()


def one_by_one(rules, view):
    view = rules._completed(view)
    values, undecided = Values(variables(view, rules._readings)), []
    matches = [_consider(each, view, values, undecided) for each in rules.compiled]
    return tuple(filter(None, matches)), tuple(undecided)


@settings(max_examples=400, deadline=None)
@given(view=views())
@pytest.mark.parametrize("which", ["odd", "packs"])
def test_rules_say_the_same_together_and_one_by_one(request, which, view):
    rules = request.getfixturevalue(which)
    judgement = rules.consider(view)
    together = judgement.matches, judgement.undecided[: len(one_by_one(rules, view)[1])]
    assert together == one_by_one(rules, view)


@pytest.mark.parametrize("value", ["0", "''", "[]", "null", "1", "dyn(0)"])
def test_what_is_no_truth_value_is_not_taken_for_false(value):
    assert Program(f"({value} == false)").evaluate(Values({})) is False


def test_the_packs_are_silent_about_a_plain_query(packs):
    shape = Shape(ParseStatus.PARSED, "", "", "select", "SELECT", ("select",), reads=("shop.t",))
    session = Session(BackendKey(1, 1), "main", "clerk", "shop", "a", "local")
    view = packs._completed(View(shape, session, 20))
    values = Values(variables(view, packs._readings))
    assert all(group.is_silent(values) for group in packs._groups)
