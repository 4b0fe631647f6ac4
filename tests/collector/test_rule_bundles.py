"""Agents get the newest bundle when they connect and when it changes, over the real stream."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.spool.spool import Spool
from rules.bundle import Bundle, Sealed, seal, to_file, unseal
from tests.collector.road import collector_at, uplink_to
from tests.waiting import wait_until

KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def bundles(tmp_path):
    folder = tmp_path / "bundles"
    folder.mkdir()
    return folder


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool.db", lambda *_: None)
    yield opened
    opened.close()


def put(folder, version: int) -> None:
    sealed = seal(Bundle(version, 0, {"a.yaml": b"x"}), KEY)
    (folder / "part").write_bytes(to_file(sealed))
    os.replace(folder / "part", folder / f"{version}.bundle")


def versions(received) -> list[int]:
    """As the signed bytes say, and as the message says beside them."""
    found = []
    for rules in received:
        bundle = unseal(Sealed(rules.bundle, rules.signature), KEY.public_key())
        assert bundle.version == rules.version
        found.append(bundle.version)
    return found


def test_the_newest_bundle_comes_after_hello_and_each_newer_one_after_it(tmp_path, bundles, spool):
    put(bundles, 3)
    put(bundles, 2)
    received = []
    with (
        collector_at(tmp_path, bundles=bundles) as collector,
        uplink_to(collector.address, spool, on_rules=received.append),
    ):
        wait_until(lambda: versions(received) == [3], 5)
        put(bundles, 5)
        wait_until(lambda: versions(received) == [3, 5], 5)


def test_what_is_no_bundle_is_passed_over(tmp_path, bundles, spool):
    (bundles / "9.bundle").write_text("nonsense")
    received = []
    with (
        collector_at(tmp_path, bundles=bundles) as collector,
        uplink_to(collector.address, spool, on_rules=received.append),
    ):
        put(bundles, 5)
        wait_until(lambda: versions(received) == [5], 5)


def test_a_folder_that_comes_later_is_found(tmp_path, spool):
    later = tmp_path / "later"
    received = []
    with (
        collector_at(tmp_path, bundles=later) as collector,
        uplink_to(collector.address, spool, on_rules=received.append),
    ):
        later.mkdir()
        put(later, 4)
        wait_until(lambda: versions(received) == [4], 5)
