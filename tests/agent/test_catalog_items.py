"""Rows of the catalog as items: lines, odd names, and what stays on the host."""

import hashlib
import re

import pytest

from agent.catalog.items import TornError, file_errors, hidden, objects, role_setting, setting
from agent.catalog.items.objects import LARGE
from agent.catalog.items.secrets import keyed, line, option
from agent.catalog.items.server_value import in_own_file
from agent.catalog.rights import grants, grants_for
from model.catalog import CatalogKind

SECRET = "canary-5ecret"


def value(*lines: str | None, **more: object) -> str:
    [item] = objects(CatalogKind.TABLE, "shop", [{"name": "hr.t", "lines": list(lines)} | more])
    return item.value


def keys(text: str) -> list[str]:
    return [each.partition(": ")[0] for each in text.splitlines()]


def test_each_fact_stands_on_a_line_of_its_own_whatever_is_in_it():
    text = value("owner: al\nice", "column a: text default 'x\ny\u2028z'::text")
    assert text == "owner: al ice\ncolumn a: text default 'x\\ny\\u2028z'::text"


def test_keys_stay_apart_when_names_hold_what_would_end_a_key():
    text = value(
        'column "a: b": integer', 'column "a: c": text', 'column "x\ny": integer',
        'column "q"": "":": int',
    )  # fmt: skip
    assert keys(text) == [
        'column U&"a\\003A b"', 'column U&"a\\003A c"', 'column U&"x\\000Ay"',
        'column U&"q""\\003A ""\\003A"',
    ]  # fmt: skip


def test_spaces_outside_of_quotes_mean_nothing_and_inside_everything():
    text = value("owner: a", definition="SELECT 1\n   FROM \"t\n u\"\n  WHERE a = 'x  y'")
    assert text.splitlines()[2] == "text: SELECT 1 FROM \"t\\n u\" WHERE a = 'x  y'"
    assert text.splitlines()[1].startswith("definition: sha256:")


@pytest.mark.parametrize(
    "row",
    [
        {"name": None, "lines": []},
        {"name": "hr.t", "lines": ["owner: a", None]},
        {"name": "hr.v", "lines": ["owner: a"], "definition": None},
    ],
)
def test_a_definition_that_vanished_is_never_a_value(row):
    with pytest.raises(TornError):
        objects(CatalogKind.TABLE, "shop", [row])


def test_a_value_that_the_wire_would_cut_carries_a_hash_of_the_whole():
    one, other = (value("owner: a", f"column a: {'x' * LARGE}{end}") for end in "ab")
    assert one.splitlines()[0].startswith("digest: sha256:")
    assert one.splitlines()[0] != other.splitlines()[0]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("column api_key", f"text default '{SECRET}'::text"),
        ("check", f"((password = '{SECRET}'::text))"),
        ("check", f"(\"apiToken\"::text <> '{SECRET}'::text)"),
        ("text", f"SELECT dblink('host=db password={SECRET}')"),
        ("text", f"SELECT 'https://bob:{SECRET}@example.com/'"),
        ("text", f"SELECT pgp_sym_decrypt(ssn, '{SECRET}'::text) AS s FROM hr.p"),
        ("text", f"SELECT encode(hmac((lower(a) || ')'), '{SECRET}', 'sha256'), 'hex')"),
        (
            "definition",
            f"CREATE TRIGGER t EXECUTE FUNCTION post('https://hooks.slack.com/services/T0/{SECRET}')",
        ),
        (
            "definition",
            f"CREATE TRIGGER t EXECUTE FUNCTION post('https://x.io/h/{SECRET[:6]}5ecret0123456789abcdef')",
        ),
        ("definition", f"CREATE TRIGGER t EXECUTE FUNCTION sync('scott:{SECRET}@db7')"),
        ("text", f"SELECT http('Authorization: Bearer {SECRET}')"),
        ("text", "SELECT 'ghp_canary5ecretcanary5ecretcanary5ecret'"),
    ],
)
def test_literals_that_look_like_secrets_are_hashed_and_the_rest_stays(key, text):
    told = line(key, text)
    assert "canary" not in told
    assert "'hidden " in told
    assert told == line(key, text)
    assert told != line(key, text.replace("5ecret", "other"))


@pytest.mark.parametrize(
    "text",
    [
        "(kind = 'token'::text)", "(max_tokens = 'x'::text)", "1 + 2",
        "(url = 'https://example.com/blog/2024-01-how-to-do-this-and-that'::text)",
        "(at = 'mailto:bob@example.com'::text)", "(sign(n) > 0) AND (a = 'x'::text)",
        "encrypt(a, b) = c AND (d = 'x'::text)",
    ],
)  # fmt: skip
def test_ordinary_literals_are_shown(text):
    assert line("check", text) == text


def test_no_hash_beside_a_text_without_its_secrets_lets_them_be_guessed():
    view = "SELECT pgp_sym_decrypt(ssn, '{}'::text) AS s FROM hr.p"
    plain, other = (value("owner: a", definition=view.format(each)) for each in ("k1", "k2"))
    assert hashlib.sha256(view.format("k1").encode()).hexdigest()[:16] not in plain
    assert plain.splitlines()[1].startswith("definition: hidden ")
    assert plain.splitlines()[1] != other.splitlines()[1]
    body = value("body: sha256:0123", body="SELECT hmac($1, 'k1', 'sha256')")
    assert body.startswith("body: hidden ")


def test_options_and_settings_hide_what_may_be_a_secret():
    assert option("host=db1") == "host=db1"
    assert option("password_required=false") == "password_required=false"
    assert SECRET not in option(f"sslpassword={SECRET}") + option(f"dsn=password={SECRET}")
    assert SECRET not in hidden("archive_command", f"curl {SECRET}")
    assert hidden("password_encryption", "md5") == "md5"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("app.api_key", f"sk-live-{SECRET}"),
        ("app.settings.service_role_key", f"eyJhbGciOiJIUzI1NiJ9.{SECRET}"),
        ("app.settings.anything", "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiY2FuYXJ5LTVlY3JldCJ9"),
        ("app.url", f"https://bob:{SECRET}@example.com/"),
        ("pgcrypto.encryption_key", SECRET),
        ("App.Encryption_KEY", SECRET),
        ("app.password_v2", SECRET),
        ("app.credentials", SECRET),
    ],
)
def test_settings_of_applications_keep_their_secrets_on_the_host(name, text):
    shown = hidden(name, text)
    assert shown.startswith("hidden ")
    assert shown != hidden(name, f"{text}x")
    stored = {"name": name, "setting": text, "role": "app", "database": ""}
    assert role_setting(stored).value == shown
    row = {"name": "hr.f()", "lines": ["owner: a"], "settings": [f"{name}={text}"]}
    [function] = objects(CatalogKind.FUNCTION, "shop", [row])
    assert function.value == f"owner: a\nset {name}: {shown}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("app.token_required", "on"),
        ("app.settings.region", "eu-central-1"),
        ("ssl_key_file", "server.key"),
        ("md5_password_warnings", "on"),
        ("ml.max_tokens", "4096"),
        ("search_path", '"$user", public'),
        ("app.api_key", ""),
    ],
)
def test_settings_that_are_no_secrets_are_shown(name, text):
    assert hidden(name, text) == text


def test_errors_of_the_files_are_one_item_with_their_places():
    row = {"name": "work_mem", "error": "invalid value", "sourcefile": "/p.conf", "sourceline": 3}
    [item] = file_errors([row, row | {"name": "", "error": "syntax error", "sourceline": 9}])
    assert item.value == "work_mem: invalid value; a line: syntax error"
    assert item.detail == "/p.conf:3, /p.conf:9"
    assert file_errors([]) == []


def test_a_setting_of_the_session_has_no_source():
    row = {
        "name": "work_mem", "setting": "4096", "unit": "kB", "source": "session",
        "sourcefile": "/p.conf", "sourceline": 1, "pending_restart": False,
    }  # fmt: skip
    item = setting(row)
    assert item is not None
    assert (item.value, item.detail) == ("4MB", "")


OWN = "/data/postgresql.auto.conf"


def served(setting, kind="integer", unit="kB", source=OWN, line=3, *, waits=False):
    return {
        "name": "work_mem", "setting": setting, "unit": unit, "type": kind, "sourcefile": source,
        "source": "configuration file", "sourceline": line, "pending_restart": waits,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (served("65536"), "64MB"),
        (served("131072", unit="8kB"), "1GB"),
        (served("65536"), "65536"),
        (served("on", "bool", ""), "yes"),
        (served("0.1", "real", ""), "0.10"),
        (served("a b", "string", ""), "a b"),
    ],
)
def test_of_the_line_that_a_value_came_from_a_hash_is_told(row, text):
    line = {"work_mem": {"setting": text, "sourcefile": OWN, "sourceline": 3}}
    assert in_own_file(row, line) == text
    item = setting(row | {"line": in_own_file(row, line)})
    assert re.fullmatch(rf"configuration file {OWN}:3; set to [0-9a-f]{{4}}-[0-9a-f]{{12}}",
                        item.detail)  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        served("65536", waits=True),
        served("32768"),
        served("65536", line=4),
        served("65536", source="/data/postgresql.conf"),
        served("65536", source=""),
    ],
)
def test_a_line_that_was_edited_since_it_was_read_tells_nothing(row):
    line = {"work_mem": {"setting": "64MB", "sourcefile": OWN, "sourceline": 3}}
    assert in_own_file(row, line) == ""


def test_grants_are_those_that_a_version_knows_and_that_are_always_needed():
    assert not [each for each in grants("pgwarden", 14) if "ident" in each]
    assert [each for each in grants("pgwarden", 15) if "ident" in each]
    assert not [each for each in grants("pgwarden", 15) if "pg_user_mapping" in each]
    assert grants_for({"user_mappings"}, 'o"dd', 12) == [
        'GRANT SELECT ON pg_catalog.pg_user_mapping TO "o""dd";'
    ]
    assert grants_for({"settings"}, "pgwarden", 12) == ["GRANT pg_monitor TO pgwarden;"]


def test_what_stands_for_a_secret_cannot_be_guessed_without_the_key_of_the_agent():
    told = set()
    for key in (b"a" * 32, b"b" * 32):
        with keyed(key):
            told.add(hidden("app.password", "hunter2"))
            assert hidden("app.password", "hunter2") in told
    told.add(hidden("app.password", "hunter2"))
    assert len(told) == 3
    bare = hashlib.sha256(b"app.password=hunter2").hexdigest()[:12]
    assert not any(bare in each for each in told)
    keys = {each.removeprefix("hidden ").partition("-")[0] for each in told}
    assert len(keys) == 3, "whose keys differ cannot be compared"
