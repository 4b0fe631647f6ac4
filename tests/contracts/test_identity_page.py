"""The examples of docs/identity.md are what the programs take."""

import re
from pathlib import Path

import yaml

from agent.identities import identities
from agent.identity.addresses import parse_address_map
from agent.identity.rules import FACTS
from agent.identity.signatures import (
    ANCESTOR_SIGNATURES,
    PROGRAM_SIGNATURES,
    SIGNATURES,
    USER_SIGNATURES,
)
from config import Config
from config.schema import IdentitySettings
from model.session import BackendKey, IdentityKind, Session

PAGE = (Path(__file__).resolve().parents[2] / "docs/identity.md").read_text()
CONFIGURATION, ADDRESSES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_of_a_configuration_is_good_and_complete(tmp_path):
    tree = yaml.safe_load(CONFIGURATION)
    addresses = tmp_path / "addresses.yaml"
    addresses.write_text(ADDRESSES)
    tree["agent"]["identity"]["address_map"] = str(addresses)
    config = Config.model_validate(tree).agent
    who = identities(config)
    one = who.map.session(Session(BackendKey(1, 1), user="x", client_address="10.1.2.3"))
    assert (one.identity.kind, one.identity.name) == (IdentityKind.HUMAN, "alice-laptop")
    assert set(tree["agent"]["identity"]) == set(IdentitySettings.model_fields)
    assert config.identity.comment_keys == IdentitySettings().comment_keys


def test_the_patterns_of_the_page_are_those_of_the_rules():
    sentence = PAGE.split("Patterns may be over ")[1].split(". The last five")[0]
    assert set(re.findall(r"`([a-z_]+)`", sentence)) == set(FACTS)


def test_the_example_of_an_address_map_is_good():
    assert len(parse_address_map(ADDRESSES.encode(), "addresses.yaml")) == 2


def test_the_known_names_of_the_page_are_those_of_the_signatures():
    rows = re.findall(r"^\| (`?[a-z_ ]+`?) \| (.*) \|$", PAGE, re.MULTILINE)
    told = {place.strip("`"): re.split(r" ?\| ?", kinds) for place, kinds in rows}
    tables = {
        "application_name": SIGNATURES,
        "login": USER_SIGNATURES,
        "program": PROGRAM_SIGNATURES,
        "started under": ANCESTOR_SIGNATURES,
    }
    kinds = (IdentityKind.HUMAN, IdentityKind.SERVICE, IdentityKind.AI_AGENT)
    for place, signatures in tables.items():
        for kind, cell in zip(kinds, told[place], strict=True):
            what = dict.fromkeys(each.what for each in signatures if each.kind is kind)
            assert cell == ", ".join(what) or not what, (place, kind)
