"""The configuration says exactly where it is wrong."""

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ConfigError, load, schema
from model.verdict import Mode


def write(folder, text, name="pgwarden.yaml"):
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def problems(file, environment=None):
    with pytest.raises(ConfigError) as caught:
        load(file, environment or {})
    return caught.value.problems


def test_without_a_file_the_defaults_hold_and_nothing_is_enforced():
    assert load(None, {}).agent.guard.mode is Mode.OBSERVE


def test_later_files_of_conf_d_override_earlier_ones_key_by_key(tmp_path):
    main = write(
        tmp_path, "agent: {name: a, guard: {mode: off, deadline_ms: 50}}".replace("off", '"off"')
    )
    write(tmp_path, "agent: {guard: {mode: enforce}}", "conf.d/10-guard.yaml")
    config = load(main, {})
    assert (config.agent.name, config.agent.guard.mode, config.agent.guard.deadline_ms) == (
        "a",
        Mode.ENFORCE,
        50,
    )


def test_the_environment_overrides_files(tmp_path):
    main = write(tmp_path, "agent: {name: a}")
    assert load(main, {"PGWARDEN_AGENT__NAME": "b"}).agent.name == "b"


def test_an_unknown_key_is_named_with_file_and_line(tmp_path):
    main = write(tmp_path, "agent:\n  name: a\n  gaurd:\n    mode: enforce\n")
    assert problems(main) == [
        f"{main}:3: unknown key agent.gaurd; remove it or correct its spelling"
    ]


@pytest.mark.parametrize(
    "value", ["2026-03-01T00:80:00Z", "2026-02-30", "!!int x", "!!bool x", "!!timestamp x"]
)
def test_a_value_that_its_kind_cannot_hold_is_refused_and_from_the_environment_a_text(
    tmp_path, value
):
    main = write(tmp_path, f"agent:\n  name: {value}\n")
    (problem,) = problems(main)
    assert problem.startswith(f"{main}: has a value that is none of its kind: ")
    assert load(None, {"PGWARDEN_AGENT__NAME": value}).agent.name == value


def test_a_bad_value_is_named_with_file_and_line(tmp_path):
    main = write(tmp_path, "agent:\n  guard:\n    deadline_ms: soon\n")
    (problem,) = problems(main)
    assert problem.startswith(f"{main}:3: agent.guard.deadline_ms: ")


def test_a_bad_environment_variable_is_named():
    (problem,) = problems(None, {"PGWARDEN_AGENT__GUARD__MODE": "maybe"})
    assert problem.startswith("PGWARDEN_AGENT__GUARD__MODE: agent.guard.mode: ")


def test_a_missing_file_says_so(tmp_path):
    (problem,) = problems(tmp_path / "none.yaml")
    assert "no such file" in problem


def test_a_folder_in_place_of_a_file_says_so(tmp_path):
    assert "no such file" in problems(tmp_path)[0]


def test_broken_yaml_names_its_line(tmp_path):
    main = write(tmp_path, "agent:\n  name: [a\n")
    (problem,) = problems(main)
    assert f"{main}:3: is not YAML" in problem


def test_text_that_is_not_utf8_names_its_byte(tmp_path):
    (problem,) = problems(write(tmp_path, b"agent: {name: \xff}"))
    assert "is not UTF-8 at byte 14" in problem


def test_secrets_come_from_files_and_do_not_show(tmp_path):
    secret = write(tmp_path, "k3y\n", "key")
    main = write(
        tmp_path,
        "collector: {alerts: {receivers: [{type: pagerduty, name: p, "
        f"routing_key_file: {secret}}}]}}}}",
    )
    config = load(main, {})
    receiver = config.collector.alerts.receivers[0]
    assert receiver.routing_key.get_secret_value() == "k3y"
    assert "k3y" not in repr(config)


def test_a_missing_secret_file_names_the_key(tmp_path):
    main = write(tmp_path, "agent:\n  clusters:\n    - dsn_file: /nowhere\n")
    (problem,) = problems(main)
    assert problem.startswith(f"{main}:3: cannot read the secret in /nowhere")


@given(st.binary(max_size=200))
def test_any_bytes_load_or_are_a_configuration_error(tmp_path_factory, data):
    file = write(tmp_path_factory.mktemp("c"), data)
    try:
        load(file, {})
    except ConfigError as error:
        assert error.problems


def sections(model):
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, schema.Section):
                yield part
                yield from sections(part)


def test_every_setting_is_read_by_a_program():
    programs = "\n".join(
        file.read_text()
        for folder in ("agent", "collector", "cli")
        for file in Path(folder).rglob("*.py")
    )
    whole = {
        schema.IdentityEntry,
        schema.WindowOpening,
        *sections(schema.Analytics),
    } - {schema.MaintenanceEntry, schema.RespondEntry}
    """Unpacked into a class of the program, which has the same names."""
    unread = {
        f"{section.__name__}.{name}"
        for section in sections(schema.Config)
        if section not in whole
        for name in section.model_fields
        if not re.search(rf"\.{name}\b", programs)
    }
    assert unread == set()
