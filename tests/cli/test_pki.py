"""pgwarden pki: what it makes, for whom, and what it refuses."""

import json
import re
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from typer.testing import CliRunner

from cli.main import app
from cli.pki.authority import Authority
from model.certified import Certified, Role


@pytest.fixture
def folder(tmp_path):
    pki = tmp_path / "pki"
    run("init", folder=pki)
    return pki


def run(*words, folder, exits=0):
    done = CliRunner().invoke(app, ["pki", *words, "--dir", str(folder)])
    assert done.exit_code == exits, done.output
    return done.output


def listed(folder):
    rows = [json.loads(line) for line in run("list", "--json", folder=folder).splitlines()]
    return [(row["role"], row["name"], row["state"]) for row in rows]


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_folders_and_keys_are_their_owners_only(folder):
    run("issue", "agent", "host-a", folder=folder)
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        elif "key" in path.name:
            assert mode == 0o600, path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_agents_certificate_lives_a_week_and_says_its_id_in_a_uri(folder):
    run("issue", "agent", "host-a", folder=folder)
    home = folder / "agents/host-a"
    told = openssl("x509", "-in", home / "cert.pem", "-noout", "-text")
    assert "URI:urn:pgwarden:agent:host-a" in told
    assert "ASN1 OID: prime256v1" in told
    assert "TLS Web Client Authentication\n" in told
    found = x509.load_pem_x509_certificate((home / "cert.pem").read_bytes())
    left = found.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=6.99) < left <= timedelta(days=7)


def test_openssl_believes_what_was_issued_until_it_is_revoked(folder):
    run("issue", "collector", "collector.example", "192.0.2.7", folder=folder)
    certificate = folder / "collectors/collector.example/cert.pem"
    verify = ("verify", "-x509_strict", "-CAfile", folder / "ca.pem", "-crl_check")
    verify = (*verify, "-CRLfile", folder / "crl.pem")
    as_server = (*verify, "-purpose", "sslserver", "-verify_ip", "192.0.2.7", certificate)
    assert openssl(*as_server).endswith(": OK\n")
    run("revoke", "collector.example", "--crl", str(folder / "crl.pem"), folder=folder)
    assert "certificate revoked" in openssl(*as_server)


def test_an_agents_certificate_is_no_servers(folder):
    run("issue", "agent", "host-a", folder=folder)
    certificate = folder / "agents/host-a/cert.pem"
    verify = ("verify", "-CAfile", folder / "ca.pem", "-purpose")
    assert openssl(*verify, "sslclient", certificate).endswith(": OK\n")
    assert "unsuitable certificate purpose" in openssl(*verify, "sslserver", certificate)


def test_rotating_by_name_makes_the_next_one_with_the_same_names_and_life(folder):
    run("issue", "collector", "a.example", "192.0.2.7", "--days", "30", folder=folder)
    home = folder / "collectors/a.example"
    before = x509.load_pem_x509_certificate((home / "cert.pem").read_bytes())
    key = (home / "key.pem").read_bytes()
    run("rotate", "a.example", folder=folder)
    after = x509.load_pem_x509_certificate((home / "cert.pem").read_bytes())
    names = x509.SubjectAlternativeName
    assert after.serial_number != before.serial_number
    assert after.extensions.get_extension_for_class(names) == (
        before.extensions.get_extension_for_class(names)
    )
    life = after.not_valid_after_utc - after.not_valid_before_utc
    assert life == before.not_valid_after_utc - before.not_valid_before_utc
    assert (home / "key.pem").read_bytes() != key
    assert listed(folder) == [("collector", "a.example", "valid")] * 2


def test_rotate_without_names_takes_what_is_due_and_neither_fresh_nor_ended_nor_revoked(tmp_path):
    now, folder = datetime.now(UTC), tmp_path / "pki"
    Authority.create(folder, "pgwarden", timedelta(days=365), now - timedelta(days=30))
    with Authority.opened(folder) as authority:
        for name, days_ago in (("fresh", 4), ("due", 5), ("gone", 5), ("ended", 8)):
            who = Certified(Role.AGENT, name)
            issued = authority.issue(
                who, (), timedelta(days=7), now - timedelta(days=days_ago, minutes=1)
            )
            if name == "gone":
                authority.revoke([issued], now)
    assert re.findall(r"agent (\w+),", run("rotate", folder=folder)) == ["due"]
    assert "nothing is due" in run("rotate", folder=folder)


def test_revoke_writes_the_list_where_the_collector_reads_it(folder, tmp_path):
    crl = tmp_path / "collector/crl.pem"
    crl.parent.mkdir()
    config = tmp_path / "pgwarden.yaml"
    config.write_text(
        f"collector: {{tls: {{certificate: c, key: k, ca: {folder}/ca.pem, crl: {crl}}}}}"
    )
    run("issue", "agent", "host-a", folder=folder)
    run("issue", "agent", "host-b", folder=folder)
    assert str(crl) in run("revoke", "host-a", "--config", str(config), folder=folder)
    assert crl.read_bytes() == (folder / "crl.pem").read_bytes()
    assert len(x509.load_pem_x509_crl(crl.read_bytes())) == 1
    assert listed(folder) == [("agent", "host-a", "revoked"), ("agent", "host-b", "valid")]
    run("issue", "agent", "host-a", folder=folder)  # a new one, with a new key


def test_a_restored_authority_does_not_replace_a_newer_list_and_says_the_remedy(folder, tmp_path):
    crl, backup = tmp_path / "collector.pem", tmp_path / "backup.pem"
    for name in ("host-a", "host-b", "host-c"):
        run("issue", "agent", name, folder=folder)
    backup.write_bytes((folder / "crl.pem").read_bytes())
    run("revoke", "host-a", "--crl", str(crl), folder=folder)
    (folder / "crl.pem").write_bytes(backup.read_bytes())
    newer = crl.read_bytes()
    words = ("pki", "revoke", "host-b", "--crl", str(crl), "--dir", str(folder))
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code != 0
    assert f"Copy {crl} to {folder}/crl.pem and revoke again" in " ".join(refused.output.split())
    assert (crl.read_bytes(), (folder / "crl.pem").read_bytes()) == (newer, backup.read_bytes())
    (folder / "crl.pem").write_bytes(newer)
    run("revoke", "host-b", "--crl", str(crl), folder=folder)
    assert len(x509.load_pem_x509_crl(crl.read_bytes())) == 2


def test_a_serial_revokes_one_certificate_of_several(folder):
    run("issue", "agent", "host-a", folder=folder)
    serial = json.loads(run("list", "--json", folder=folder))["serial"]
    run("rotate", "host-a", folder=folder)
    run("revoke", serial, folder=folder)
    assert listed(folder) == [("agent", "host-a", "revoked"), ("agent", "host-a", "valid")]


def test_what_cannot_be_done_is_said_with_the_remedy(folder, tmp_path):
    assert "make one with pgwarden pki init" in run(
        "list", folder=tmp_path / "nowhere", exits=1
    ).replace("\n", " ")
    assert "already" in run("init", folder=folder, exits=1)
    run("issue", "agent", "host-a", folder=folder)
    assert "pki rotate host-a" in run("issue", "agent", "host-a", folder=folder, exits=1)
    assert "no certificate" in run("revoke", "host-x", folder=folder, exits=1)
    assert "is no name" in run("issue", "agent", "../host", folder=folder, exits=1)
    run("issue", "approver", "host-a", folder=folder)
    assert "give a serial" in run("revoke", "host-a", folder=folder, exits=1)
    (folder / "ca.key").chmod(0o640)
    assert f"chmod 0600 {folder}/ca.key" in run("list", folder=folder, exits=1)
    (folder / "ca.key").chmod(0o600)
    folder.chmod(0o755)
    assert f"chmod 0700 {folder}" in run("list", folder=folder, exits=1)


def test_a_list_that_others_have_signed_is_not_built_upon(folder, tmp_path):
    run("init", folder=tmp_path / "other")
    shutil.copy(tmp_path / "other/crl.pem", folder / "crl.pem")
    run("issue", "agent", "host-a", folder=tmp_path / "other")
    assert "was not signed by this authority" in run("list", folder=folder, exits=1)
