"""A rule file that cannot be used is refused whole, with the place of every mistake."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.verdict import RuleAction, Severity
from rules import DEFAULT_PACKS, Approval, RuleError, RuleSet, Status, Unknown
from tests.rules.rule_files import GOOD, load, problems, rule, shape, view

FUZZ = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_a_rule_has_sensible_defaults(tmp_path):
    (only,) = load(tmp_path, GOOD).rules
    assert only.id == "reads-salaries"
    assert (only.severity, only.action) == (Severity.HIGH, RuleAction.DENY)
    assert only.approval is Approval.ALLOWED
    assert (only.unknown, only.status) == (Unknown.ALLOW, Status.STABLE)
    assert only.message == "Salaries are read"
    assert only.line == 4


def test_a_file_may_be_a_bare_list_of_rules(tmp_path):
    assert [r.id for r in load(tmp_path, rule()).rules] == ["r"]


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    (tmp_path / "b.yaml").write_text(rule(id="second"))
    (tmp_path / "a.yml").write_text(rule(id="first"))
    (tmp_path / "notes.txt").write_text("not rules")
    assert [r.id for r in RuleSet.load([tmp_path]).rules] == ["first", "second"]


def test_configuration_overrides_a_constant(tmp_path):
    rules = load(tmp_path, GOOD, variables={"secret_tables": ["hr.bonuses"]})
    assert rules.variables["secret_tables"] == ("hr.bonuses",)


def test_a_constant_of_one_file_can_be_used_in_another(tmp_path):
    (tmp_path / "a.yaml").write_text("vars: {limit: 5}\nrules: []")
    (tmp_path / "b.yaml").write_text(rule("statement.text_bytes > vars.limit"))
    assert len(RuleSet.load([tmp_path]).rules) == 1


MISTAKES = {
    "unknown field": (
        rule(serverity="low"),
        "rules.yaml:7: unknown field 'serverity' in a rule; did you mean 'severity'?",
    ),
    "missing field": (
        "- id: r\n  title: T\n  severity: low\n  action: deny",
        "rules.yaml:1: the field 'when' is missing",
    ),
    "bad severity": (
        rule(severity="hihg"),
        "rules.yaml:5: severity 'hihg' is unknown; did you mean 'high'?",
    ),
    "bad action": (
        rule(action="block"),
        "rules.yaml:6: action 'block' is unknown; known: observe, alert, deny, cancel, terminate",
    ),
    "bad unknown": (
        rule(unknown="maybe"),
        "rules.yaml:7: unknown 'maybe' is unknown; known: allow, deny",
    ),
    "bad approval": (
        rule(approval="maybe"),
        "rules.yaml:7: approval 'maybe' is unknown; known: allowed, never",
    ),
    "bad id": (
        rule(id="Drop It"),
        "rules.yaml:3: the id 'Drop It' must be lower-case letters, digits, '.', '_', '-', "
        "at most 64",
    ),
    "given twice": (rule() + "  id: again\n", "rules.yaml:7: 'id' is given twice in a rule"),
    "two lines for the client": (
        rule(message='"a\\nb"'),
        "rules.yaml:7: message must be one line without control characters",
    ),
    "long message": (
        rule(message="x" * 401),
        "rules.yaml:7: message is longer than 400 bytes",
    ),
    "a text where a list belongs": (rule(tags="attack"), "rules.yaml:7: tags must be a list"),
    "unknown list of examples": (
        rule(examples="{matches: []}"),
        "rules.yaml:7: unknown field 'matches' in examples; did you mean 'match'?",
    ),
    "example without sql": (
        rule(examples="{match: [{session: {user: a}}]}"),
        "rules.yaml:7: the field 'sql' is missing",
    ),
    "example's identity": (
        rule(examples="{match: [{sql: x, identity: {kind: robot}}]}"),
        "rules.yaml:7: kind 'robot' is unknown; known: human, service, ai_agent, unknown",
    ),
    "example's superuser": (
        rule(examples="{match: [{sql: x, session: {superuser: 3}}]}"),
        "rules.yaml:7: superuser must be true or false",
    ),
    "no mapping": ("- just text", "rules.yaml:1: a rule must be a mapping"),
    "no rules": ("just text", "rules.yaml:1: rules must be a list"),
    "empty": ("", "rules.yaml:1: the file is empty"),
    "not YAML": ("- id: [", "rules.yaml:1: not YAML: "),
    "alias": ("- &a {id: r}\n- *a", "rules.yaml:2: not YAML: aliases are not allowed"),
    "deep": ("[" * 500, "rules.yaml:1: not YAML: nested too deeply"),
    "not UTF-8": (b"- id: r\n- \xff", "rules.yaml:2: not UTF-8"),
    "half a surrogate": (
        rule(title='"\\ud800"'),
        "rules.yaml:4: title holds half of a surrogate pair",
    ),
    "escape beyond Unicode": (rule(title='"\\UFFFFFFFF"'), "rules.yaml: not YAML: "),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_with_its_file_and_line(tmp_path, text, expected):
    assert any(problem.startswith(expected) for problem in problems(tmp_path, text)), problems(
        tmp_path, text
    )


EXPRESSIONS = {
    "does not compile": ("statement.parsed &&", "mismatched input 'the end'", 20),
    "unbalanced": ("(statement.parsed", "missing ')'", 18),
    "unknown variable": (
        "statemnt.parsed",
        "unknown variable 'statemnt'; did you mean 'statement'?",
        1,
    ),
    "unknown field": (
        "session.local && statement.verb == 'x'",
        "unknown field 'statement.verb'; did you mean 'statement.verbs'?",
        28,
    ),
    "unknown constant": ("'a' in vars.tabels", "unknown variable 'vars.tabels'", 13),
    "unknown function": (
        "statement.reads.sizes() == 1",
        "unknown function 'sizes'; did you mean 'size'?",
        17,
    ),
    "a root alone": ("size(statement) > 0", "'statement' alone is no value", 6),
    "bound elsewhere": (
        "statement.reads.exists(r, r == 'x') && r == 'y'",
        "unknown variable 'r'",
        40,
    ),
    "text": ("statement.operation", "must be true or false, but gives text", 1),
    "a number": ("size(statement.reads)", "must be true or false, but gives a number", 1),
    "types": ("statement.text_bytes > 'x'", "a number is neither more nor less than a text", 22),
    "hidden by and": (
        "session.local && statement.text_bytes > 'x'",
        "a number is neither more nor less than a text",
        39,
    ),
    "types of a sum": (
        "statement.text_bytes + 1 > 'x'",
        "does not fit the types of its operands",
        1,
    ),
    "a list for a number": ("statement.verbs == 3", "a list of texts never equals a number", 17),
    "a list for a text": (
        "session.local && 'drop' == statement.verbs",
        "a text never equals a list of texts",
        25,
    ),
    "a number for a text": ("session.user != 1", "a text never equals a number", 14),
    "a truth for a text": ("session.superuser == 'on'", "true or false never equals a text", 19),
    "in a text": ("'a' in session.user", "'in' looks into a list, and this is a text", 5),
    "a number in a list": ("3 in statement.verbs", "a list of texts never holds a number", 3),
    "more than a list": (
        "statement.reads > vars.limits",
        "a list of texts is neither more nor less than a list of texts",
        17,
    ),
    "a constant": ("vars.limits == session.user", "a list of texts never equals a text", 13),
    "what a macro takes": (
        "statement.verbs.exists(v, v == 3)",
        "a text never equals a number",
        29,
    ),
    "a size": ("statement.reads.size() == 'x'", "a number never equals a text", 24),
    "a size after": ("'x' == size(statement.reads)", "a text never equals a number", 5),
    "method of another type": (
        "statement.reads.startsWith('x')",
        "does not fit the types of its operands",
        1,
    ),
    "bad pattern": (
        "session.local && session.user.matches('(')",
        "'(' is not a regular expression",
        39,
    ),
    "too long": ("true || " * 3000 + "true", "longer than 16384 characters", 1),
}


@pytest.mark.parametrize(
    ("when", "message", "column"), EXPRESSIONS.values(), ids=EXPRESSIONS.keys()
)
def test_a_bad_condition_is_named_with_rule_and_column(tmp_path, when, message, column):
    text = "vars: {limits: [a]}\nrules:\n" + rule(when)
    with pytest.raises(RuleError) as caught:
        load(tmp_path, text)
    (problem,) = map(str, caught.value.problems)
    place = f"{tmp_path}/rules.yaml:4:{4 + column}: rule r: when: "
    assert problem.startswith(f"{place}{message}"), problem


STYLES = {
    "folded": (">\n      session.local\n\n      && sesion.user == 'x'", 9, 10),
    "folded and stripped": (">-  # why\n      session.local\n        && sesion.user == 'x'", 8, 12),
    "literal": ("|\n      session.local\n      && sesion.user == 'x'", 8, 10),
    "quoted once": ("'session.user == ''sesion''\n      && sesion.user == ''x'''", 7, 10),
    "quoted twice": ('"\\"a\\" == session.user\\\n      && sesion.user == \\"x\\""', 7, 10),
    "plain": ("session.local\n      && sesion.user == 'x'", 7, 10),
}


@pytest.mark.parametrize(("when", "line", "column"), STYLES.values(), ids=STYLES.keys())
def test_a_mistake_has_its_place_in_the_file_however_the_condition_is_written(
    tmp_path, when, line, column
):
    text = f"- id: r\n  title: für\n  severity: low\n\n  action: alert\n  when: {when}\n"
    with pytest.raises(RuleError) as caught:
        load(tmp_path, text)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (line, column), str(problem)
    first, shown, mark = str(problem).split("\n")
    assert first.startswith(f"{tmp_path}/rules.yaml:{line}:{column}: rule r: when: unknown")
    assert shown[mark.index("^") :].startswith("sesion.user")


def test_where_an_escape_hides_the_place_the_condition_is_shown(tmp_path):
    text = rule().replace("|-\n    statement.parsed", r'"\x73esion.user"')
    (problem,) = problems(tmp_path, text)
    assert "column 1:\n    sesion.user\n    ^" in problem


def test_a_bad_condition_is_shown_with_a_mark_under_the_mistake(tmp_path):
    text = rule("session.local\n    && sesion.user == 'x'")
    (problem,) = problems(tmp_path, text)
    assert problem.splitlines()[1:] == ["    && sesion.user == 'x'", "       ^"]


@pytest.mark.parametrize(
    "when",
    [
        "statement.reads.exists(r, r.startsWith('a') && statement.writes.exists(w, w == r))",
        "'it''s' != \"statemnt.x\" && session.local // statemnt.x",
        "statement.verbs.filter(v, v != 'select').size() > 0",
        "has(statement.verbs) && identity.confidence >= 0.5",
        "statement.operation in ['drop', 'truncate'] ? session.superuser : false",
        "statement.reads[0] == 'x'",
        r"session.application_name.matches(r'^\d+$')",
        r"session.user == r'a\' || session.user == 'b'",
        r"session.user == '''statemnt.x\'''b''' || session.local",
    ],
)
def test_a_sound_condition_loads(tmp_path, when):
    quoted = when.replace("'it''s'", '"it\'s"')
    assert problems(tmp_path, rule(quoted)) == []


def test_all_problems_of_all_files_come_at_once(tmp_path):
    (tmp_path / "a.yaml").write_text(rule(severity="x", action="y"))
    (tmp_path / "b.yaml").write_text(rule("nonsense", id="s"))
    (tmp_path / "c.yaml").write_text("{")
    with pytest.raises(RuleError) as caught:
        RuleSet.load([tmp_path])
    places = [(Path(p.path).name, p.line) for p in caught.value.problems]
    assert places == [("a.yaml", 5), ("a.yaml", 6), ("b.yaml", 2), ("c.yaml", 1)]


def test_an_id_is_taken_only_once_and_the_message_names_the_first(tmp_path):
    (tmp_path / "a.yaml").write_text(rule())
    (tmp_path / "b.yaml").write_text(rule())
    with pytest.raises(RuleError, match=r"b\.yaml:1:3: the id 'r' is taken by .*a\.yaml:1"):
        RuleSet.load([tmp_path])


def test_two_files_cannot_disagree_about_a_constant(tmp_path):
    (tmp_path / "a.yaml").write_text("vars: {limit: 5}\nrules: []")
    (tmp_path / "b.yaml").write_text("vars: {limit: 6}\nrules: []")
    with pytest.raises(RuleError, match=r"vars\.limit has another value in another file"):
        RuleSet.load([tmp_path])


def test_an_override_of_a_constant_that_no_file_has_is_an_error(tmp_path):
    assert problems(tmp_path, GOOD, variables={"secret_tabels": []}) == [
        "configuration: rules.vars: no rule file has vars.secret_tabels; known: secret_tables"
    ]


def test_an_override_of_another_type_is_found_through_the_condition(tmp_path):
    (problem,) = problems(tmp_path, GOOD, variables={"secret_tables": 5})
    assert "'in' looks into a list, and this is a number" in problem


def test_a_missing_file_and_an_empty_folder_are_problems(tmp_path):
    with pytest.raises(RuleError, match="No such file"):
        RuleSet.load([tmp_path / "none.yaml"])
    with pytest.raises(RuleError, match=r"no \*\.yaml or \*\.yml file"):
        RuleSet.load([tmp_path])


def test_constants_with_quotes_and_control_characters_reach_the_condition_intact(tmp_path):
    nasty = ["a\"b'c\\d\ne\x00f", "ü\u2028\U0001f600"]
    rules = load(tmp_path, GOOD, variables={"secret_tables": nasty})
    for name in nasty:
        assert rules.judge(view(shape(reads=(name,))))
    assert not rules.judge(view(shape(reads=("ab",))))


PACKS = sorted(DEFAULT_PACKS.glob("*.yaml"))


@pytest.mark.parametrize("pack", PACKS, ids=lambda path: path.stem)
def test_a_pack_can_be_used_without_the_others(pack):
    assert RuleSet.load([pack]).rules


@FUZZ
@given(st.data())
def test_a_damaged_pack_raises_nothing_but_a_rule_error(tmp_path, data):
    """Half a pack, bytes changed, pieces moved: it loads, or it is a RuleError."""
    whole = data.draw(st.sampled_from(PACKS)).read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    piece = bytearray(whole[start : start + data.draw(st.integers(0, 2000))])
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(piece)))
        junk = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from(JUNK)))
        piece[place : place + data.draw(st.integers(0, 3))] = junk
    problems(tmp_path, bytes(piece))


JUNK = (b"*a", b"&a ", b"!!python/object:os.system x", b"\t", b"{", b"- ", b"? ", b"\xff", b"<<: ")


@FUZZ
@given(st.text(max_size=200))
def test_any_text_as_a_file_raises_nothing_but_a_rule_error(tmp_path, text):
    problems(tmp_path, text.encode("utf-8", "surrogatepass"))


CEL_PARTS = r"""
    statement session identity vars . .verbs .reads .user .exists( .matches( has( size( r, r
    ( ) [ ] { } ! && || == != < ? : in 'x' '(' 1 2.5 1u true null + - * / % // " ' \ , verbs
"""


@FUZZ
@given(st.lists(st.sampled_from([*CEL_PARTS.split(), "\n"]), max_size=14))
def test_any_condition_loads_or_is_a_rule_error(tmp_path, parts):
    text = json.dumps(
        [{"id": "r", "title": "T", "severity": "low", "action": "deny", "when": " ".join(parts)}]
    )
    problems(tmp_path, text)
