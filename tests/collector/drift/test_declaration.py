"""A declaration: written, read back, and refused with line and remedy."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.drift.baseline import Fact
from collector.drift.declaration import (
    DeclarationError,
    complete,
    export,
    gaps,
    read_declaration,
)
from collector.drift.declaration.addresses import as_shown
from collector.drift.declaration.keys import KEYS
from collector.drift.ignore import Ignored, IgnoreRule
from collector.drift.lines import LINE_KINDS
from model.catalog import WATCHED_NAME, CatalogKind
from tests.collector.drift.facts import SERVER, facts


def read(tmp_path, text):
    path = tmp_path / "desired.yaml"
    path.write_text(text)
    return read_declaration(path)


def problems(tmp_path, text):
    with pytest.raises(DeclarationError) as caught:
        read(tmp_path, text)
    return [problem.removeprefix(f"{tmp_path}/desired.yaml:") for problem in caught.value.problems]


def test_what_is_exported_is_read_back_without_a_difference(tmp_path):
    declared = read(tmp_path, export(SERVER)).parts
    assert declared.keys() == SERVER.keys()
    for key, seen in SERVER.items():
        assert list(gaps(key[0], declared[key], seen)) == []


def test_the_same_facts_give_the_same_bytes_in_any_order():
    backwards = {key: dict(reversed(items.items())) for key, items in reversed(SERVER.items())}
    assert export(backwards) == export(SERVER)


def test_only_the_kinds_that_are_asked_for_are_exported(tmp_path):
    declared = read(tmp_path, export(SERVER, {CatalogKind.ROLE})).parts
    assert [key[0] for key in declared] == [CatalogKind.ROLE]


def test_what_nobody_decided_is_not_exported():
    text = export(SERVER)
    assert "jit:" not in text
    assert "pg_monitor" not in text


def test_which_tables_are_watched_is_not_exported_and_no_gap(tmp_path):
    key, row = (CatalogKind.WATCHED, "shop"), facts(**{"public.flags[1]": "on: no"})
    seen = {key: facts(**{"public.flags": WATCHED_NAME}) | row}
    text = export(seen)
    assert "public.flags:" not in text
    declared = read(tmp_path, text).parts[key]
    assert list(gaps(key[0], declared, seen[key])) == []


def test_lines_are_a_mapping_and_rules_of_hba_a_list():
    text = export(SERVER)
    assert "        column id: bigint not null\n" in text
    assert "  hba:\n  - local all all: peer\n  - local all all: md5\n" in text


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        ("hostssl all all 10.0.0.0/8", "hostssl all all 10.0.0.0/255.0.0.0"),
        ("host all all 10.0.0.0/255.0.0.0", "host all all 10.0.0.0/255.0.0.0"),
        ("host all all 10.0.0.5 255.0.0.0", "host all all 10.0.0.5/255.0.0.0"),
        ("host all all 0.0.0.0/0", "host all all 0.0.0.0/0.0.0.0"),
        ("host all all 10.0.0.1/32", "host all all 10.0.0.1/255.255.255.255"),
        ("host all all 10.0.0.1", "host all all 10.0.0.1/255.255.255.255"),
        ("host all all ::/0", "host all all ::/::"),
        ("hostnossl a,b +c FD00::1/64", "hostnossl a,b +c fd00::1/ffff:ffff:ffff:ffff::"),
        ("host all all ::1", "host all all ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("host all all ::ffff:1.2.3.0/120",
         "host all all ::ffff:1.2.3.0/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00"),
        ("host all all samenet", "host all all samenet"),
        ("host all all .Example.com", "host all all .Example.com"),
        ("host all all 10.0.0.0/33", "host all all 10.0.0.0/33"),
        ("host all all 10.0.0.0/ffff::", "host all all 10.0.0.0/ffff::"),
        ("host all /^a.*/8 all", "host all /^a.*/8 all"),
        ("local all 10.0.0.0/8", "local all 10.0.0.0/8"),
        ("line 5", "line 5"),
    ],
)  # fmt: skip
def test_addresses_of_hba_rules_are_read_as_the_server_shows_them(tmp_path, declared, shown):
    text = f"version: 1\ncluster:\n  hba:\n  - {declared}: reject\n  - local a b: peer\n"
    if declared != "line 5":  # Which a server shows for what it cannot read.
        [facts_] = read(tmp_path, text).parts.values()
        assert [*facts_] == ["(order)", shown, "local a b"]
        assert facts_["(order)"].value == f"{shown} > local a b"
    assert as_shown(declared) == shown == as_shown(shown)


def test_one_rule_in_two_ways_is_one_rule(tmp_path):
    rules = ("host all all 10.0.0.0/8", "host all all 10.0.0.0 255.0.0.0")
    listed = "".join(f"  - {rule}: reject\n" for rule in rules)
    [items] = read(tmp_path, f"version: 1\ncluster:\n  hba:\n{listed}").parts.values()
    name = "host all all 10.0.0.0/255.0.0.0"
    assert [*items] == ["(order)", name, f"{name} #2"]
    named = "".join(f"    {rule}: reject\n" for rule in rules)
    [said] = problems(tmp_path, f"version: 1\ncluster:\n  hba:\n{named}")
    assert "5:" in said
    assert f"{rules[1]!r} is the same rule as {rules[0]!r}" in said


def test_the_order_of_rules_that_are_a_mapping_is_read_so_too(tmp_path):
    text = "version: 1\ncluster: {hba: {(order): 'local a b > host a b 1.2.3.4/32 #2'}}\n"
    [items] = read(tmp_path, text).parts.values()
    assert items["(order)"].value == "local a b > host a b 1.2.3.4/255.255.255.255 #2"


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=5))
def test_whatever_names_and_values_hold_they_come_back(tmp_path_factory, items):
    try:
        "".join([*items, *items.values()]).encode()
    except UnicodeEncodeError:
        return
    parts = {(CatalogKind.WATCHED, "shop"): {name: Fact(v, "") for name, v in items.items()}}
    path = tmp_path_factory.mktemp("any") / "desired.yaml"
    path.write_text(export(parts))
    [read_back] = read_declaration(path).parts.values()
    assert {name: fact.value for name, fact in read_back.items()} == items


def test_a_kind_without_items_is_declared_empty_and_one_that_is_missing_is_not(tmp_path):
    parts = read(tmp_path, "version: 1\ndatabases:\n  shop:\n    policy: {}\n    trigger:\n").parts
    assert parts == {(CatalogKind.POLICY, "shop"): {}, (CatalogKind.TRIGGER, "shop"): {}}


def test_words_that_yaml_takes_for_booleans_and_numbers_stay_words(tmp_path):
    text = "version: 1\ncluster:\n  setting:\n    fsync: on\n    port: 05432\n"
    settings = read(tmp_path, text).parts[CatalogKind.SETTING, ""]
    assert (settings["fsync"].value, settings["port"].value) == ("on", "05432")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("databases: {shop: {privilege: {'table:a.b<-c': [SELEKT]}}}", "mean 'SELECT'?"),
        ("databases: {shop: {privilege: {'tabel:a.b<-c': SELECT}}}", "mean 'table'?"),
        ("cluster: {hba: [{hots all all 10.0.0.0/8: reject}]}", "mean 'host'?"),
        ("cluster: {hba: [{host all all 10.0.0.0/8: scram}]}", "unknown method 'scram'"),
    ],
)
def test_a_word_that_no_server_knows_is_named_with_its_line(tmp_path, text, said):
    with pytest.raises(DeclarationError) as raised:
        read(tmp_path, f"version: 1\n{text}\n")
    assert said in str(raised.value)
    assert ":2" in str(raised.value)


def test_privileges_may_be_a_list(tmp_path):
    text = "version: 1\ndatabases: {shop: {privilege: {'table:a.b<-c': [SELECT, INSERT]}}}\n"
    [items] = read(tmp_path, text).parts.values()
    assert items["table:a.b<-c"].value == "INSERT, SELECT"


MISTAKES = [
    ("cluster: {}\n", "1:1: version is missing; begin with: version: 1"),
    ("version: 2\n", "1:10: this release reads version 1 only"),
    ("version: 1\nclustr: {}\n", "2:1: unknown field 'clustr' in a declaration; did you mean"),
    ("version: 1\ncluster:\n  table: {}\n", "3:10: table does not belong to cluster; move it to"),
    ("version: 1\ncluster:\n  roel: {}\n", "3:9: unknown kind 'roel' in cluster; there are data"),
    ("version: 1\ndatabases:\n  shop:\n    role: {}\n", "4:11: role does not belong to database"),
    ("version: 1\ncluster:\n  setting:\n    a: [b]\n", "4:8: setting a must be text"),
    ("version: 1\ncluster:\n  setting:\n    a: b\n    a: c\n", "5:5: 'a' is given twice in sett"),
    ("version: 1\ncluster:\n  membership: {a: b}\n", "3:19: membership 'a' must say who: NAME<-"),
    ("version: 1\ncluster: {role: &a {x: y}}\ndatabases: *a\n", "3:12: not YAML: aliases are not"),
    (
        "version: 1\ncluster:\n  role:\n    bob: superuser=maybe login=true\n",
        "4:10: role bob: superuser is 'maybe'; write superuser=true or superuser=false",
    ),
    (
        "version: 1\ncluster:\n  role:\n    bob: superusr=true\n",
        "4:10: role bob: unknown attribute 'superusr'; did you mean 'superuser'?",
    ),
    (
        "version: 1\ncluster:\n  membership:\n    a<-b: membr\n",
        "4:11: membership a<-b: unknown option of a membership 'membr'; did you mean 'member'?",
    ),
    (
        "version: 1\ndatabases:\n  shop:\n    table:\n      hr.t:\n        onwer: alice\n",
        "6:16: table hr.t: unknown line 'onwer'; did you mean 'owner'?",
    ),
    (
        "version: 1\ndatabases:\n  shop:\n    table:\n      hr.t:\n        colum id: bigint\n",
        "6:19: table hr.t: unknown line 'colum id'; did you mean 'column id'?",
    ),
    (
        "version: 1\ndatabases:\n  shop:\n    policy:\n      hr.t.p: {shape: x}\n",
        "5:23: policy hr.t.p: unknown line 'shape'; there are kind, command, roles, using, check",
    ),
    (
        "version: 1\ndatabases:\n  shop:\n    function:\n      f(): |\n        secruity: definer\n",
        "5:12: function f(): unknown line 'secruity'; did you mean 'security'?",
    ),
    ("version: 1\n  cluster: {}\n", "2:10: not YAML: mapping values are not allowed"),
    ("version: 1\ncluster:\n  hba:\n  - [a]\n", "4:5: a rule of hba must be a mapping"),
    ("", "1: the file is empty"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_a_mistake_names_its_line_and_column_and_what_to_do(tmp_path, text, expected):
    assert problems(tmp_path, text)[0].startswith(expected)


def test_all_mistakes_are_told_at_once(tmp_path):
    text = "version: 1\ncluster:\n  table: {}\n  membership: {a: member}\n"
    assert len(problems(tmp_path, text)) == 2


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(DeclarationError, match="No such file"):
        read_declaration(tmp_path / "none.yaml")


def test_lines_and_privileges_have_no_order():
    kind = CatalogKind.TABLE
    assert list(gaps(kind, facts(t="a: 1\nb: 2"), facts(t="b: 2\na: 1"))) == []
    kind = CatalogKind.PRIVILEGE
    assert list(gaps(kind, facts(t="SELECT, INSERT"), facts(t="INSERT, SELECT"))) == []


def test_a_setting_that_nobody_set_need_not_be_declared_but_one_that_is_set_must():
    seen = {"jit": Fact("on", "default"), "work_mem": Fact("1GB", "configuration file")}
    assert [d.name for d in gaps(CatalogKind.SETTING, {}, seen)] == ["work_mem"]
    assert complete(CatalogKind.SETTING, {}, seen) == {"jit": Fact("on", "default")}


def test_a_setting_that_waits_for_a_restart_is_set_though_its_source_is_the_default_still():
    seen = {"archive_mode": Fact("off (restart pending)", "default")}
    assert [d.name for d in gaps(CatalogKind.SETTING, {}, seen)] == ["archive_mode"]


def test_a_declared_value_counts_even_where_the_server_has_its_default():
    seen = {"jit": Fact("on", "default")}
    [found] = gaps(CatalogKind.SETTING, {"jit": Fact("off", "")}, seen)
    assert (found.desired, found.observed) == ("off", "on")


NOON = 1_800_000_000_000_000  # 2027-01-15


@pytest.mark.parametrize(
    ("rule", "hidden"),
    [
        ({"name": "hr.*"}, True),
        ({"name": "sales.*"}, False),
        ({"kind": "table"}, True),
        ({"kind": "policy"}, False),
        ({"database": "shop"}, True),
        ({"database": "other"}, False),
        ({"cluster": "54*"}, True),
        ({"cluster": "6*"}, False),
        ({"until": date(2027, 1, 15)}, True),
        ({"until": date(2027, 1, 14)}, False),
    ],
)
def test_an_ignore_rule_hides_what_all_its_patterns_fit_until_its_day_is_over(rule, hidden):
    from collector.drift.baseline import Scope, differences

    scope = Scope("host", "5432", CatalogKind.TABLE, "shop")
    ignored = Ignored([IgnoreRule("because", **rule)])
    found = differences({}, {"hr.t": Fact("a: b", "")})
    assert (ignored.kept(scope, found, NOON) == {}) is hidden
    [row] = ignored.rows(NOON)
    assert row["differences"] == int(hidden)


def test_a_rule_that_ended_is_said_once():
    ignored = Ignored([IgnoreRule("because", until=date(2020, 1, 1))])
    assert len(ignored.newly_expired(NOON)) == 1
    assert ignored.newly_expired(NOON) == []


def test_every_kind_with_lines_has_its_keys():
    assert set(KEYS) == LINE_KINDS - {CatalogKind.WATCHED}
