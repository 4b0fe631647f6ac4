"""Profiles: each check with what passes, what fails, and what nobody can know."""

from __future__ import annotations

import pytest

from collector.drift.profiles import ProfileError, check, profile_names, read_profile
from model.catalog import CatalogKind as Kind
from tests.collector.drift.facts import SERVER, changed, named

CHECKS = {each.id: each for name in profile_names() for each in read_profile(name).checks}


def outcome(own, kind, items, database=""):
    [result] = check([CHECKS[own]], {(kind, database): named(items)})
    return str(result.outcome)


def test_the_profiles_that_come_with_it_are_valid():
    assert profile_names() == ["cis", "pgaudit"]
    assert len(CHECKS) > 60


CASES = [
    ("tls-on", Kind.SETTING, {"ssl": "on"}, {"ssl": "off"}),
    ("tls-version", Kind.SETTING, {"ssl_min_protocol_version": "TLSv1.3"},
     {"ssl_min_protocol_version": "TLSv1"}),
    ("tls-ciphers", Kind.SETTING, {"ssl_ciphers": "HIGH:MEDIUM:+3DES:!aNULL"},
     {"ssl_ciphers": "HIGH:RC4"}),
    ("durability", Kind.SETTING, {"fsync": "on", "full_page_writes": "on"},
     {"fsync": "on", "full_page_writes": "off"}),
    ("log-statement", Kind.SETTING, {"log_statement": "ddl"}, {"log_statement": "none"}),
    ("log-line-prefix", Kind.SETTING, {"log_line_prefix": "%m [%p] %q%u@%d "},
     {"log_line_prefix": "%m "}),
    ("log-not-switched-off-for-somebody", Kind.SETTING, {"log_statement@a": "all"},
     {"log_statement@a": "none"}),
    ("authentication-timeout", Kind.SETTING, {"authentication_timeout": "1min"},
     {"authentication_timeout": "10min"}),
    ("preload-known", Kind.SETTING, {"shared_preload_libraries": "pgaudit, pg_stat_statements"},
     {"shared_preload_libraries": "evil"}),
    ("scram-iterations", Kind.SETTING, {"scram_iterations": "4096"}, {"scram_iterations": "1"}),
    ("hba-no-trust", Kind.HBA, {"local all all": "peer"}, {"local all all": "trust"}),
    ("hba-not-the-whole-world", Kind.HBA, {"host all all 10.0.0.0/8": "md5"},
     {"host all all 0.0.0.0/0": "md5"}),
    ("hba-tls-over-network", Kind.HBA,
     {"hostssl all all 10.0.0.0/8": "md5", "host all all 127.0.0.1/255.255.255.255": "md5"},
     {"host all all 10.0.0.0/8": "md5"}),
    ("hba-tls-over-network", Kind.HBA,
     {f"host all all ::1/{':'.join(['ffff'] * 8)}": "md5",
      "host all all 127.0.0.0/255.0.0.0": "md5",
      "host all all samehost #2": "md5"},
     {"host all all fd00::1234/ffff:ffff:ffff:ffff::": "md5"}),
    ("hba-tls-over-network", Kind.HBA, {"host all all 127.0.0.1/32": "md5"},
     {"host all all 127.0.0.1/0.0.0.0": "md5"}),
    ("hba-tls-over-network", Kind.HBA, {"host all all localhost": "md5"},
     {"host all localhost 10.0.0.0/255.0.0.0": "md5"}),
    ("hba-not-the-whole-world", Kind.HBA, {"local all all": "md5", "host all all 0.0.0.0/1": "md5"},
     {"host all all 10.0.0.0/0.0.0.0 #2": "md5"}),
    ("hba-not-the-whole-world", Kind.HBA, {"host all all ::1/128": "md5"},
     {"hostssl all all ::/::": "md5"}),
    ("superusers-few", Kind.ROLE, {"postgres": "superuser=true login=true"},
     {"bob": "superuser=true login=true"}),
    ("bypassrls-nobody", Kind.ROLE, {"a": "superuser=false bypassrls=false"},
     {"a": "superuser=false bypassrls=true"}),
    ("public-creates-nothing", Kind.PRIVILEGE, {"schema:public<-PUBLIC": "USAGE"},
     {"schema:public<-PUBLIC": "CREATE, USAGE"}),
    ("default-privileges-public", Kind.PRIVILEGE,
     {"default:functions of own1<-PUBLIC": "(revoked)"},
     {"default:functions of own1 in hr<-PUBLIC": "EXECUTE"}),
    ("definer-search-path", Kind.FUNCTION,
     {"f()": "security: definer\nset search_path: hr"},
     {"f()": "security: definer\nvolatility: x"}),
    ("policies-in-force", Kind.TABLE, {"t": "row security: forced"}, {"t": "row security: on"}),
    ("extensions-no-host-access", Kind.EXTENSION, {"citext": "version: 1"},
     {"plpython3u": "version: 1"}),
    ("wal-archived", Kind.SETTING, {"archive_mode": "on"}, {"archive_mode": "off"}),
    ("pgaudit-loaded", Kind.SETTING, {"shared_preload_libraries": "x, pgaudit"},
     {"shared_preload_libraries": "x"}),
    ("pgaudit-log", Kind.SETTING, {"pgaudit.log": "ddl, role, write"},
     {"pgaudit.log": "ddl, role"}),
    ("pgaudit-nothing-excluded", Kind.SETTING, {"pgaudit.log": "all, -misc"},
     {"pgaudit.log": "all, -ddl"}),
    ("pgaudit-not-switched-off-for-somebody", Kind.SETTING, {"pgaudit.log@a": "all"},
     {"pgaudit.log@a": "none"}),
]  # fmt: skip


@pytest.mark.parametrize(("own", "kind", "good", "bad"), CASES)
def test_a_check_passes_what_is_right_and_fails_what_is_not(own, kind, good, bad):
    assert (outcome(own, kind, good), outcome(own, kind, bad)) == ("pass", "fail")


INITDB_BY_ADMIN = {
    (Kind.DATABASE, ""): named({"template0": "owner: admin\ntemplate: yes"}),
    (Kind.ROLE, ""): named(
        {"admin": "superuser=true login=true", "postgres": "superuser=true login=false"}
    ),
}


@pytest.mark.parametrize(
    ("own", "kind", "database", "items", "offenders"),
    [
        ("superusers-few", Kind.ROLE, "", {}, ("postgres",)),
        ("superusers-no-login", Kind.ROLE, "", {}, ()),
        ("superusers-no-login", Kind.ROLE, "", {"bob": "superuser=true login=true"}, ("bob",)),
        ("definer-not-superuser", Kind.FUNCTION, "shop",
         {"f()": "owner: admin\nsecurity: definer", "g()": "owner: eve\nsecurity: definer",
          "h()": "owner: postgres\nsecurity: definer"}, ("shop: f()", "shop: h()")),
    ],
)  # fmt: skip
def test_superusers_are_known_by_what_they_are_and_not_by_their_names(
    own, kind, database, items, offenders
):
    server = changed(INITDB_BY_ADMIN, kind, database, items)
    [result] = check([CHECKS[own]], server)
    assert (result.outcome, result.offenders) == ("fail" if offenders else "pass", offenders)


@pytest.mark.parametrize("own", sorted(CHECKS))
def test_each_check_can_be_evaluated_on_a_server(own):
    [result] = check([CHECKS[own]], SERVER)
    assert "cannot be evaluated" not in result.reason or "no field" in result.reason


def test_a_kind_that_was_not_read_is_unknown_with_the_reason():
    parts = {key: items for key, items in SERVER.items() if key[0] is not Kind.HBA}
    [result] = check([CHECKS["hba-no-trust"]], parts)
    assert (result.outcome, "hba was not read" in result.reason) == ("unknown", True)


def test_a_setting_that_the_server_does_not_have_is_unknown():
    [result] = check([CHECKS["tls-on"]], SERVER)
    assert (result.outcome, result.reason) == ("unknown", "this server has no setting ssl")


def test_what_fails_names_what_and_where():
    parts = changed(SERVER, Kind.TABLE, "shop", {"hr.t": "kind: table\nrow security: on"})
    [result] = check([CHECKS["policies-in-force"]], parts)
    assert result.offenders == ("shop: hr.t",)


def test_a_setting_that_fails_names_the_line_that_sets_it():
    source = "configuration file /data/postgresql.conf:12"
    parts = changed(SERVER, Kind.SETTING, "", {"fsync": ("off", source)})
    [result] = check([CHECKS["durability"]], parts)
    assert result.offenders == ("fsync is off (/data/postgresql.conf:12)",)
    assert "ALTER SYSTEM RESET fsync" not in result.check.remedy


GOOD = (
    "profile: own\ntitle: t\nchecks:\n- id: a\n  title: t\n  why: w\n  remedy: r\n"
    "  kind: setting\n  must: value == 'on'\n"
)
MISTAKES = [
    (GOOD.replace("  why: w\n", ""), ":4:3: a check needs why"),
    (GOOD.replace("kind: setting", "kind: seting"), ":8:9: kind 'seting' is unknown; did you mean"),
    (GOOD.replace("'on'", "'on' &&"), ":9:9: must: "),
    (GOOD.replace("  must:", "  musst:"), ":9:3: unknown field 'musst' in a check; did you mean"),
    ("profile: own\n", ":1:1: a profile needs checks"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_a_mistake_in_a_profile_names_its_line(tmp_path, text, expected):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError) as caught:
        read_profile(str(path))
    assert caught.value.problems[0].startswith(f"{path}{expected}")


def test_a_profile_of_ones_own_is_a_file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(GOOD)
    [result] = check(read_profile(str(path)).checks, {(Kind.SETTING, ""): named({"x": "on"})})
    assert result.outcome == "pass"
