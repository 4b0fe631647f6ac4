"""The address map: narrowest range first, and errors that say where and what to do."""

import pytest

from agent.identity import AddressMap, IdentityError, IdentityMap, IdentityRule, read_address_map
from agent.identity.addresses import parse_address_map
from agent.peers.address_file import AddressFile
from model.session import BackendKey, IdentityKind, Session

MAP = b"""
- address: 10.0.0.0/8
  name: inside
  confidence: 0.3
- address: 10.1.2.0/24
  name: shop
- {address: 10.1.2.3, name: alice-laptop, kind: human, confidence: 0.8}
- {address: "2001:db8::/32", name: six, kind: unknown}
"""


def named(address):
    entry = AddressMap(parse_address_map(MAP, "m.yaml")).entry(address)
    return entry.name if entry else None


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.9.9.9", "inside"),
        ("10.1.2.4", "shop"),
        ("10.1.2.3", "alice-laptop"),
        ("::ffff:10.1.2.3", "alice-laptop"),
        ("2001:db8::1", "six"),
        ("192.0.2.1", None),
        ("local", None),
        ("", None),
    ],
)
def test_the_narrowest_range_counts(address, name):
    assert named(address) == name


def test_an_address_names_with_its_confidence_and_its_place_but_a_rule_goes_before():
    addresses = AddressMap(parse_address_map(MAP, "m.yaml"))
    one = Session(BackendKey(1, 1), user="shop", client_address="10.1.2.3")
    identity = IdentityMap(addresses=lambda: addresses).identify(one)
    assert (identity.kind, identity.name) == (IdentityKind.HUMAN, "alice-laptop")
    assert identity.confidence == 0.8
    assert identity.evidence == ("address 10.1.2.3 is 'alice-laptop' in m.yaml:7",)
    assert not identity.proven
    rule = IdentityRule(IdentityKind.SERVICE, "shop", user="shop")
    assert IdentityMap((rule,), addresses=lambda: addresses).identify(one).name == "shop"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: 1", "m.yaml:1: must be a list"),
        (b"- 7", "m.yaml:1: must be a mapping with address"),
        (b"- {address: 10.0.0.1}", "m.yaml:1: has no name; give one"),
        (b"- {name: x}", "m.yaml:1: has no address; give one"),
        (b"\n- {address: db.example, name: x}", "m.yaml:2: 'db.example' is no address"),
        (b"- {address: 10.0.0.1/8, name: x}", "write 10.0.0.0/8"),
        (b"- {address: 10.0.0.1, name: x, kind: robot}", "kind 'robot' is none of human"),
        (b"- {address: 10.0.0.1, name: x, confidence: 2}", "confidence '2' must be"),
        (b"- {address: 10.0.0.1, name: x, confidence: nan}", "confidence 'nan' must be"),
        (b"- {address: 10.0.0.1, name: x, user: u}", "unknown key 'user'; there are address"),
        (b"- {address: 10.0.0.1, name: [x]}", "name must be a single value"),
        (b"- {address: 10.0.0.1, name: x}\n- {address: 10.0.0.1, name: y}", "stands at m.yaml:1"),
        (b"- [", "is not YAML"),
        (b"\xff", "is not UTF-8 at byte 0"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_remedy(text, message):
    with pytest.raises(IdentityError, match=r"m\.yaml") as raised:
        parse_address_map(text, "m.yaml")
    assert message in str(raised.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(IdentityError) as raised:
        parse_address_map(b"- {name: x}\n- {address: 10.0.0.1}", "m.yaml")
    assert "m.yaml:1" in str(raised.value)
    assert "m.yaml:2" in str(raised.value)


def test_a_file_that_is_not_there_is_an_error_that_names_the_setting(tmp_path):
    with pytest.raises(IdentityError, match=r"correct agent\.identity\.address_map"):
        read_address_map(tmp_path / "none.yaml")


def test_a_changed_file_is_read_again_and_a_bad_one_leaves_the_last_good_in_force(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_bytes(MAP)
    file = AddressFile(path)
    assert not file.reload()
    path.write_text("- {address: 192.0.2.1, name: new}")
    assert file.reload()
    assert file().entry("192.0.2.1").name == "new"
    path.write_text("- nonsense")
    assert not file.reload()
    assert "m.yaml:1" in file.problem
    assert file().entry("192.0.2.1").name == "new"
    path.unlink()
    assert not file.reload()
    assert "no such file" in file.problem.lower()
    path.write_bytes(MAP)
    assert file.reload()
    assert file.problem == ""
