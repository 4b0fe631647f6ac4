"""A host's first certificate for a token, over real TLS."""

import json
import socket
import stat
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from agent.spool.spool import Spool
from cli.main import app
from cli.pki import tokens
from cli.pki.authority import Authority, PkiError
from cli.pki.certificates import certified, new_key, pem
from cli.pki.enrolment import EnrolmentServer, enrol, obtain, obtain_next, renew
from model.certified import Certified, Role
from tests.collector.authority import Pki, guarded_collector
from tests.collector.certificates import Files
from tests.collector.road import statements, uplink_to


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
def server(pki):
    with serving(pki) as running:
        yield running


@contextmanager
def serving(pki):
    heard = []
    with EnrolmentServer(pki.folder, "127.0.0.1", 0, heard.append, lambda: now()) as server:
        server.heard = heard
        server.url = f"https://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def now():
    return datetime.now(UTC)


def token(pki, name="host-a", minutes=60.0):
    with Authority.opened(pki.folder) as authority:
        return tokens.make(authority, name, now() + timedelta(minutes=minutes), now())


def test_with_what_a_token_brought_an_agent_delivers(tmp_path, pki, server):
    home = tmp_path / "agent"
    obtain(server.url, token(pki), home)
    assert stat.S_IMODE((home / "key.pem").stat().st_mode) == 0o600
    assert not list(pki.folder.glob("agents/*/key.pem"))  # the key has never been there
    collectors = pki.issue(Role.COLLECTOR, "collector")
    spool = Spool(tmp_path / "spool.db", lambda *_: None)
    spool.append(statements(0, 10))
    mine = Files(home / "cert.pem", home / "key.pem", home / "ca.pem")
    with (
        guarded_collector(tmp_path, collectors) as collector,
        uplink_to(collector.address, spool, tls=mine) as uplink,
    ):
        assert uplink.drain(10)
    spool.close()


def test_what_a_token_brought_is_recorded_and_can_be_revoked_by_name(tmp_path, pki, server):
    given = obtain(server.url, token(pki), tmp_path / "agent")
    with Authority.opened(pki.folder) as authority:
        (recorded,) = authority.issued()
    assert recorded.certificate == given
    assert recorded.who == certified(given) == Certified(Role.AGENT, "host-a")
    assert server.heard[0].startswith("✓ agent host-a, until ")


def test_a_token_is_used_once_even_when_many_ask_at_the_same_time(tmp_path, pki, server):
    made, ends = token(pki), []

    def ask(number):
        try:
            obtain(server.url, made, tmp_path / f"agent-{number}")
            ends.append("given")
        except PkiError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["given"] + [tokens.REFUSED] * 7


def test_an_ended_or_unknown_token_brings_nothing(tmp_path, pki, server):
    ended = token(pki, minutes=-1)
    unknown = tokens.Token("A" * 43, ended.fingerprint)
    for each in (ended, unknown):
        with pytest.raises(PkiError, match="unknown, used or ended"):
            obtain(server.url, each, tmp_path / "agent")
    with Authority.opened(pki.folder) as authority:
        assert authority.issued() == []


def test_a_token_that_brings_nothing_leaves_what_is_there_as_it_was(tmp_path, pki, server):
    home, made = tmp_path / "agent", token(pki)
    obtain(server.url, made, home)
    before = {file.name: file.read_bytes() for file in home.iterdir()}
    with pytest.raises(PkiError, match="unknown, used or ended"):
        obtain(server.url, made, home)
    assert {file.name: file.read_bytes() for file in home.iterdir()} == before
    obtain(server.url, token(pki), home)
    assert (home / "key.pem").read_bytes() != before["key.pem"]
    assert (home / "key.pem").stat().st_mode & 0o777 == 0o600


def test_the_secret_is_nowhere_at_rest(pki):
    made = token(pki)
    files = [path for path in pki.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if made.secret.encode() in path.read_bytes()]
    assert not [path for path in files if made.secret in path.name]
    (record,) = pki.folder.glob("tokens/*")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600


def test_a_server_of_another_authority_is_not_told_the_secret(tmp_path, pki):
    (tmp_path / "other").mkdir()
    made = token(pki)
    with serving(Pki(tmp_path / "other")) as impostor:
        with pytest.raises(PkiError, match="is not of the authority that made the token"):
            obtain(impostor.url, made, tmp_path / "agent")
        assert impostor.heard == []  # it was asked for its certificate and nothing else


def test_a_server_that_shows_the_right_authority_without_its_key_is_not_told_the_secret(
    tmp_path, pki
):
    (tmp_path / "other").mkdir()
    made, liar = token(pki), Pki(tmp_path / "other")
    with serving(liar) as impostor:
        (liar.folder / "ca.pem").write_bytes((pki.folder / "ca.pem").read_bytes())
        with pytest.raises(PkiError, match=r"CERTIFICATE_VERIFY_FAILED"):
            obtain(impostor.url, made, tmp_path / "agent")
        assert impostor.heard == []


@pytest.mark.parametrize("request_pem", [b"", b"junk", b"-----BEGIN CERTIFICATE REQUEST-----"])
def test_a_damaged_request_leaves_the_token_as_it_was(tmp_path, pki, server, request_pem):
    made = token(pki)
    with pytest.raises(PkiError, match="ECDSA P-256"):
        enrol(pki.folder, made.secret, request_pem, now())
    obtain(server.url, made, tmp_path / "agent")


def test_a_valid_certificate_brings_the_next_one_for_the_same_key(tmp_path, pki, server):
    home = tmp_path / "agent"
    first, key = obtain(server.url, token(pki), home), (home / "key.pem").read_bytes()
    words = ["pki", "renew", server.url, "--out", str(home)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    second = x509.load_pem_x509_certificate((home / "cert.pem").read_bytes())
    assert second.serial_number != first.serial_number
    assert certified(second) == Certified(Role.AGENT, "host-a")
    assert (home / "key.pem").read_bytes() == key


def test_a_revoked_certificate_another_role_or_none_brings_no_next_one(tmp_path, pki, server):
    home = tmp_path / "agent"
    obtain(server.url, token(pki), home)
    pki.revoke("host-a")
    before = (home / "cert.pem").read_bytes()
    with pytest.raises(PkiError, match="only a valid agent certificate"):
        obtain_next(server.url, home)
    assert (home / "cert.pem").read_bytes() == before
    approver = pki.issue(Role.APPROVER, "alice").certificate.parent
    with pytest.raises(PkiError, match="only a valid agent certificate"):
        obtain_next(server.url, approver)
    with pytest.raises(PkiError, match="only a valid agent certificate"):
        renew(pki.folder, None, a_request(), now())


def test_a_certificate_that_ended_or_is_of_another_authority_brings_no_next_one(
    tmp_path, pki, server
):
    ended = pki.agent(lifetime=timedelta(days=1), at=now() - timedelta(days=2)).certificate.parent
    (tmp_path / "other").mkdir()
    foreign = Pki(tmp_path / "other").agent().certificate.parent
    (foreign / "ca.pem").write_bytes((ended / "ca.pem").read_bytes())
    for home in (ended, foreign):
        with pytest.raises(PkiError, match="does not answer"):
            obtain_next(server.url, home)


def test_to_renew_reads_no_record_but_its_own(pki):
    with Authority.opened(pki.folder) as authority:
        key = new_key().public_key()
        other = authority.sign(Certified(Role.AGENT, "host-b"), key, now())
        mine = authority.sign(Certified(Role.AGENT, "host-a"), key, now())
    (pki.folder / "issued" / f"{other.serial}.pem").write_bytes(b"damaged")
    shown = mine.certificate.public_bytes(Encoding.DER)
    assert renew(pki.folder, shown, a_request(), now()).who == mine.who
    (pki.folder / "issued" / f"{mine.serial}.pem").unlink()
    with pytest.raises(PkiError, match="only a valid agent certificate"):
        renew(pki.folder, shown, a_request(), now())


def a_request():
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return pem(builder.sign(new_key(), hashes.SHA256()))


def test_a_peer_that_says_nothing_holds_up_nobody(tmp_path, pki, server):
    with socket.create_connection(("127.0.0.1", server.server_port)):
        obtain(server.url, token(pki), tmp_path / "agent")


def test_the_commands_make_and_use_a_token(tmp_path, pki, server):
    home = tmp_path / "agent"
    made = CliRunner().invoke(app, ["pki", "token", "host-a", "--dir", str(pki.folder)])
    words = ["pki", "enrol", server.url, "--out", str(home)]
    done = CliRunner().invoke(app, words, env={"PGWARDEN_TOKEN": made.output})
    assert done.exit_code == 0, done.output
    found = x509.load_pem_x509_certificate((home / "cert.pem").read_bytes())
    assert certified(found) == Certified(Role.AGENT, "host-a")
    again = CliRunner().invoke(app, words, env={"PGWARDEN_TOKEN": made.output})
    assert again.exit_code == 1
    assert "pgwarden pki token makes another" in again.output.replace("\n", " ")


def pki_says(pki, *words, exits=0):
    done = CliRunner().invoke(app, ["pki", *words, "--dir", str(pki.folder)])
    assert done.exit_code == exits, done.output
    return " ".join(done.output.split())


def outstanding(pki):
    lines = CliRunner().invoke(app, ["pki", "tokens", "--json", "--dir", str(pki.folder)]).output
    return [json.loads(line) for line in lines.splitlines()]


def test_tokens_are_listed_without_their_secret_and_ended_ones_are_cleared_away(pki):
    token(pki, "host-b", minutes=-1)
    made = token(pki, "host-a")
    (pki.folder / "tokens" / ("0" * 64)).write_bytes(b"damaged")
    (found,) = outstanding(pki)
    assert (found["agent"], len(found["id"])) == ("host-a", tokens.ID_CHARACTERS)
    page = pki_says(pki, "tokens")
    assert page.startswith(f"{found['id']} ")
    assert made.secret not in page
    assert len(list(pki.folder.glob("tokens/*"))) == 1


def test_a_withdrawn_token_brings_nothing(tmp_path, pki, server):
    first, second, other = token(pki), token(pki), token(pki, "host-b")
    one = outstanding(pki)[0]["id"]
    assert pki_says(pki, "withdraw", one) == f"✓ withdrawn: token {one} of agent host-a"
    assert len(outstanding(pki)) == 2
    pki_says(pki, "withdraw", "host-a")
    for each in (first, second):
        with pytest.raises(PkiError, match="unknown, used or ended"):
            obtain(server.url, each, tmp_path / "agent")
    obtain(server.url, other, tmp_path / "agent")
    assert "has no outstanding token" in pki_says(pki, "withdraw", "host-a", exits=1)


def test_who_is_revoked_comes_back_with_no_token_that_was_made_before(tmp_path, pki, server):
    obtain(server.url, token(pki), tmp_path / "agent")
    early, only = token(pki), token(pki, "host-c")
    crl = ("--crl", str(tmp_path / "crl.pem"))
    told = pki_says(pki, "revoke", "host-a", *crl)
    assert "withdrawn: token" in told
    assert "revoked: agent host-a" in told
    assert "withdrawn: token" in pki_says(pki, "revoke", "host-c", *crl)
    for each in (early, only):
        with pytest.raises(PkiError, match="unknown, used or ended"):
            obtain(server.url, each, tmp_path / "again")
    assert "'host-c' has no certificate" in pki_says(pki, "revoke", "host-c", *crl, exits=1)
    again = token(pki)
    assert "withdrawn: token" in pki_says(pki, "revoke", "host-a", *crl)
    with pytest.raises(PkiError, match="unknown, used or ended"):
        obtain(server.url, again, tmp_path / "again")


def test_where_no_server_is_and_what_is_no_token_is_said(tmp_path, pki):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"https://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PkiError, match="does not answer"):
            obtain(nobody, token(pki), tmp_path / "agent")
    with pytest.raises(PkiError, match="give https://HOST:PORT"):
        obtain("http://127.0.0.1:1", token(pki), tmp_path / "agent")
    with pytest.raises(PkiError, match="this is no token"):
        tokens.parsed("half")
