"""Central rules come into force only when they are signed, newer and good; else nothing changes."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.directory import Directory
from agent.rulebook import RuleService
from config.schema import CentralRules, Rules
from rules.bundle import Bundle, BundleError, Sealed, seal
from tests.agent.rulebook.test_service import Record, ids
from tests.rules.rule_files import rule
from tests.waiting import wait_until

KEY = Ed25519PrivateKey.generate()


def sealed(version, text=None, key=KEY, not_before=0, name="central.yaml") -> Sealed:
    text = rule(id=f"v{version}") if text is None else text
    return seal(Bundle(version, not_before, {name: text.encode()}), key)


class Host:
    """An agent's rules with local file ``local``, and its state across restarts."""

    def __init__(self, folder, required=False) -> None:
        self.folder = folder
        self.local = folder / "local.yaml"
        self.local.write_text(rule(id="local"))
        self.key = folder / "k.pub"
        pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key.write_bytes(pem)
        self.required = required
        self.start()

    def start(self) -> None:
        self.record = Record()
        central = CentralRules(public_key=self.key, required=self.required)
        settings = Rules(packs=[self.local], central=central)
        self.service = RuleService(settings, self.folder / "state")
        directory = Directory(lambda session: session)
        self.service.start(None, None, directory, self.record, self.record)

    def restart(self) -> None:
        self.service.stop()
        self.start()

    def accept(self, bundle: Sealed, wanted: list[str]) -> None:
        self.service.offer(bundle)
        wait_until(lambda: ids(self.service) == wanted, 5)

    def refuse(self, bundle: Sealed) -> str:
        """The sentence of the alarm; nothing else may have changed."""
        before, told = self.service.book.edition, len(self.record.changes)
        self.service.offer(bundle)
        wait_until(lambda: len(self.record.changes) > told, 5)
        assert self.service.book.edition is before
        assert self.service.broken()["central"]
        assert self.record.changes[-1].outcome == "refused"
        assert self.record.changes[-1].source == "central"
        return self.service.problems()[-1]


@pytest.fixture
def host(tmp_path):
    running = Host(tmp_path)
    yield running
    running.service.stop()


def test_a_signed_bundle_is_in_force_beside_local_files_and_after_a_restart(host):
    host.accept(sealed(3), ["v3", "local"])
    assert (host.service.version, host.service.broken()["central"]) == (3, False)
    change = host.record.changes[-1]
    assert (change.outcome, change.source, change.version) == ("in_force", "central", 3)
    host.restart()
    assert ids(host.service) == ["v3", "local"]
    assert host.service.version == 3


def test_another_key_is_refused(host):
    stranger = Ed25519PrivateKey.generate()
    assert "signature" in host.refuse(sealed(3, key=stranger))
    assert ids(host.service) == ["local"]


def test_a_flipped_byte_is_refused(host):
    good = sealed(3)
    bad = bytearray(good.payload)
    bad[len(bad) // 2] ^= 1
    assert "signature" in host.refuse(Sealed(bytes(bad), good.signature))


def test_an_older_version_is_refused_also_after_a_restart(host):
    host.accept(sealed(5), ["v5", "local"])
    assert "older than 5" in host.refuse(sealed(4))
    host.restart()
    assert "older than 5" in host.refuse(sealed(4))
    assert ids(host.service) == ["v5", "local"]


def test_another_bundle_with_the_same_version_is_refused(host):
    host.accept(sealed(5), ["v5", "local"])
    assert "another bundle" in host.refuse(sealed(5, rule(id="other")))


def test_a_broken_rule_inside_is_refused_with_its_place_and_the_mended_one_taken(host):
    host.accept(sealed(5), ["v5", "local"])
    assert "central.yaml:2:5" in host.refuse(sealed(6, "rules:\n  - id: x\n"))
    assert host.service.version == 5
    host.accept(sealed(6, rule(id="mended")), ["mended", "local"])
    assert not host.service.broken()["central"]


def test_an_id_that_a_local_file_has_is_an_error_that_names_both(host):
    sentence = host.refuse(sealed(3, rule(id="local")))
    assert "central.yaml" in sentence
    assert "local.yaml" in sentence


def test_the_alarm_ends_when_the_collector_hands_out_what_is_in_force(host):
    host.accept(sealed(5), ["v5", "local"])
    host.refuse(sealed(4))
    host.service.offer(sealed(5))
    wait_until(lambda: not host.service.broken()["central"], 5)


def test_a_bundle_waits_for_its_time(host):
    host.service.offer(sealed(3, not_before=int(time.time()) + 2))
    time.sleep(0.5)
    assert ids(host.service) == ["local"]
    assert not host.service.broken()["central"]
    wait_until(lambda: ids(host.service) == ["v3", "local"], 10)


def test_a_kept_bundle_that_somebody_changed_is_not_used_and_that_is_told(host):
    host.accept(sealed(5), ["v5", "local"])
    host.service.stop()
    kept = host.folder / "state/central-rules/current.bundle"
    kept.write_text(kept.read_text().replace("eyJ", "eyK", 1))
    host.start()
    assert ids(host.service) == ["local"]
    assert "kept on this host" in host.service.problems()[0]
    host.accept(sealed(6), ["v6", "local"])
    assert host.service.problems() == []


def test_an_unpacked_file_that_somebody_changed_is_as_in_the_bundle_again(host):
    host.accept(sealed(5), ["v5", "local"])
    unpacked = host.folder / "state/central-rules/5/central.yaml"
    unpacked.write_text(rule(id="forged"))
    host.service.reload()
    wait_until(lambda: "v5" in unpacked.read_text(), 5)
    assert ids(host.service) == ["v5", "local"]


def test_a_local_file_still_changes_beside_a_bundle(host):
    host.accept(sealed(5), ["v5", "local"])
    host.local.write_text(rule(id="other"))
    wait_until(lambda: ids(host.service) == ["v5", "other"], 5)
    assert host.service.version == 5


def test_a_bundle_that_comes_while_a_local_file_is_broken_waits_until_that_is_mended(host):
    whole = rule(id="local")
    host.local.write_text(whole[: whole.index("when")])
    wait_until(lambda: host.service.broken()["files"], 5)
    host.service.offer(sealed(3))
    wait_until(lambda: host.service.broken()["central"], 5)
    assert ids(host.service) == ["local"]
    assert "local.yaml" in host.service.problems()[-1]
    host.local.write_text(whole)
    wait_until(lambda: ids(host.service) == ["v3", "local"], 5)
    assert host.service.problems() == []
    host.restart()
    assert ids(host.service) == ["v3", "local"]


def test_a_broken_bundle_beside_a_broken_local_file_is_refused_once_that_is_mended(host):
    host.local.write_text("rules:\n  - id: x\n")
    wait_until(lambda: host.service.broken()["files"], 5)
    host.service.offer(sealed(3, "rules:\n  - id: y\n"))
    wait_until(lambda: host.service.broken()["central"], 5)
    host.local.write_text(rule(id="local"))
    wait_until(lambda: "central.yaml:2:5" in "".join(host.service.problems()), 5)
    wait_until(lambda: not host.service.broken()["files"], 5)
    assert ids(host.service) == ["local"]


def test_a_bundle_does_not_come_into_force_with_half_of_a_file_that_is_being_written(host):
    whole = rule(id="local") + rule(id="second").removeprefix("rules:\n")
    host.local.write_text(whole)
    wait_until(lambda: ids(host.service) == ["local", "second"], 5)
    told = len(host.record.changes)
    host.local.write_text(rule(id="local"))
    host.service.offer(sealed(3))
    for _ in range(8):
        time.sleep(0.1)
        host.local.write_text(rule(id="local"))
    host.local.write_text(whole)
    wait_until(lambda: ids(host.service) == ["v3", "local", "second"], 5)
    assert [change.rules for change in host.record.changes[told:]] == [3]


def test_what_is_required_and_has_not_come_is_an_alarm(tmp_path):
    host = Host(tmp_path, required=True)
    assert host.service.missing()
    assert host.service.broken()["central"]
    host.accept(sealed(3), ["v3", "local"])
    assert not host.service.missing()
    assert not host.service.broken()["central"]
    host.service.stop()


def test_without_local_files_a_bundle_takes_the_place_of_our_own_packs(host, monkeypatch):
    host.service.stop()
    central = CentralRules(public_key=host.key)
    service = RuleService(Rules(central=central), host.folder / "other")
    assert "drop-protected" in ids(service)
    service.start(None, None, Directory(lambda session: session), host.record, host.record)
    service.offer(sealed(3))
    wait_until(lambda: ids(service) == ["v3"], 5)
    service.stop()


def test_what_is_no_public_key_is_a_bad_configuration(tmp_path):
    (tmp_path / "k.pub").write_text("x")
    with pytest.raises(BundleError, match=r"k\.pub"):
        RuleService(Rules(central=CentralRules(public_key=tmp_path / "k.pub")), tmp_path)
