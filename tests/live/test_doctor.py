"""Doctor on real servers: what is right is ✓, what is wrong has the remedy, the remedy works."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.catalog.rights import grants
from cli.doctor.check import Check, Mark
from cli.doctor.collector import check_collector, check_metrics
from cli.doctor.examine import check_servers
from config import Config
from tests.live.postgres import PostgresCluster, free_port, server_folder
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not server_folder().exists(), reason="PostgreSQL 15 is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
NOBODY = 65534
NAMED = {"pgaudit.log_relation": "on"}
HIDDEN_WORDS = "hunter2"


def configured(cluster: PostgresCluster, access: dict | None = None, **agent) -> dict:
    """Only this cluster: others on this host are not ours to touch."""
    own = {"port": cluster.port, **(access or {})}
    return {
        "agent": {
            "only_configured_clusters": True,
            "clusters": [own],
            "collector": "unix:/nowhere/collector.sock",
            "metrics": {"port": 0},
            **agent,
        },
        "collector": {"metrics": {"port": 0}},
    }


def server_checks(cluster: PostgresCluster, access: dict | None = None, **agent) -> list[Check]:
    found = check_servers(Config.model_validate(configured(cluster, access, **agent)))
    return [check for check in found if check.server == str(cluster.port)]


def of(checks: list[Check], aspect: str) -> list[Check]:
    return [check for check in checks if check.aspect == aspect]


def paste(cluster: PostgresCluster, remedy: str) -> None:
    """As a person does it: the printed lines into psql, as a superuser."""
    done = subprocess.run(
        ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", cluster.dsn()],
        input=remedy,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def grant_all(cluster: PostgresCluster) -> None:
    for statement in grants("pgwarden", 15):
        assert cluster.psql(statement).returncode == 0


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]


def doctor(folder: Path, config: object, *arguments: str, as_nobody: bool = False) -> Answer:
    file = folder / "pgwarden.yaml"
    file.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    done = subprocess.run(
        [*(drop if as_nobody else []), sys.executable, "-m", "cli.main", "doctor",
         "--config", str(file), *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def watched() -> Iterator[PostgresCluster]:
    """With pgaudit, jsonlog and the role, as an installation should be."""
    with PostgresCluster(log_format="jsonlog", settings=NAMED) as cluster:
        grant_all(cluster)
        yield cluster


@pytest.fixture(scope="module")
def bare() -> Iterator[PostgresCluster]:
    """Nothing prepared: no pgaudit, a plain text log, no role."""
    with PostgresCluster(log_format="stderr", pgaudit=False) as cluster:
        yield cluster


@pytest.mark.kernel
def test_a_well_prepared_host_lacks_nothing_but_the_collector(watched, tmp_path):
    answer = doctor(tmp_path, configured(watched, state_dir=str(tmp_path)), "--json")
    bad = [row for row in answer.rows if row.get("mark") == "bad"]
    assert [row["aspect"] for row in bad if row["aspect"] != "disk"] == ["collector"], bad
    assert bad[-1]["remedy"] == "pgwarden up"
    assert answer.code == 1
    fired = [row["sentence"] for row in answer.rows if row.get("aspect") == "probe"]
    assert "PortalRun fires" in fired
    assert "secure_write fires" in fired
    assert "sched_process_exit fires" in fired
    summary = answer.rows[-1]["summary"]
    assert summary["bad"] == len(bad)
    assert sum(summary[mark] for mark in ("good", "warn", "bad")) == len(answer.rows) - 1


@pytest.mark.kernel
def test_lines_for_a_person_have_marks_and_remedies(watched, tmp_path):
    answer = doctor(tmp_path, configured(watched, state_dir=str(tmp_path)))
    assert f"✓ {watched.port}: grants" in answer.out
    assert "✗ collector" in answer.out
    assert "    pgwarden up" in answer.out
    assert answer.err == ""


def test_without_a_loader_the_probes_are_skipped_and_the_rest_goes_on(watched):
    config = Config.model_validate(configured(watched))
    checks = list(check_servers(config, loadable=False))
    assert [check.sentence for check in of(checks, "probes")] == ["skipped: no loader"]
    assert of(checks, "grants")[0].mark is Mark.GOOD


@pytest.mark.kernel
def test_the_canary_proves_the_replication_probe_to_a_login_that_may_replicate(watched):
    def proof() -> Check:
        [check] = [c for c in server_checks(watched) if "exec_replication" in c.sentence]
        return check

    assert proof().skipped
    assert "ALTER ROLE pgwarden REPLICATION;" in proof().remedy
    paste(watched, proof().remedy)
    assert proof().mark is Mark.GOOD
    watched.psql("ALTER ROLE pgwarden NOREPLICATION")


def test_a_missing_role_is_made_by_the_printed_sql_and_all_lines_turn_good():
    with PostgresCluster(settings=NAMED) as cluster:
        before = server_checks(cluster, capture={"ebpf": False})
        [login] = of(before, "login")
        assert login.mark is Mark.BAD
        assert 'role "pgwarden" does not exist' in login.sentence
        for aspect in ("settings", "pgaudit", "grants"):
            [check] = of(before, aspect)
            assert check.skipped
            assert check.sentence == "skipped: no login"
        paste(cluster, login.remedy)
        after = server_checks(cluster, capture={"ebpf": False})
        assert {check.mark for check in after} == {Mark.GOOD}


def test_a_role_without_grants_gets_the_grants_and_then_reads_everything(bare):
    bare.psql("CREATE ROLE poor LOGIN")
    access = {"dsn": bare.dsn(user="poor")}
    [grant] = of(server_checks(bare, access, capture={"ebpf": False}), "grants")
    assert grant.mark is Mark.BAD
    assert "errors in configuration files, hba, ident, setting" in grant.sentence
    assert "CREATE ROLE" not in grant.remedy
    paste(bare, grant.remedy)
    [grant] = of(server_checks(bare, access, capture={"ebpf": False}), "grants")
    assert grant.mark is Mark.GOOD


def test_a_right_that_somebody_took_from_everybody_is_printed_and_given(bare):
    grant_all(bare)
    assert bare.psql("REVOKE SELECT ON pg_catalog.pg_policy FROM PUBLIC").returncode == 0
    try:
        [missing] = [c for c in of(server_checks(bare), "grants") if "policy" in c.sentence]
        assert missing.mark is Mark.BAD
        assert "GRANT SELECT ON pg_catalog.pg_policy TO pgwarden;" in missing.remedy
        paste(bare, missing.remedy)
        assert not [c for c in of(server_checks(bare), "grants") if c.mark is Mark.BAD]
    finally:
        assert bare.psql("GRANT SELECT ON pg_catalog.pg_policy TO PUBLIC").returncode == 0


def test_a_watched_table_that_the_role_may_not_read_gets_its_grant(watched):
    watched.psql('CREATE SCHEMA "Cfg"')
    watched.psql('CREATE TABLE "Cfg".flags (name text PRIMARY KEY)')
    watched.psql("INSERT INTO \"Cfg\".flags VALUES ('a'), ('b')")
    entries = {"watched": [{"table": '"Cfg".flags'}]}
    asked = {"capture": {"ebpf": False}, "catalog": entries}
    own, found = of(server_checks(watched, **asked), "grants")
    assert own.mark is Mark.GOOD
    assert found.mark is Mark.BAD
    assert "permission denied for schema Cfg" in found.sentence
    paste(watched, found.remedy)
    _, found = of(server_checks(watched, **asked), "grants")
    assert (found.mark, found.sentence) == (Mark.GOOD, '"Cfg".flags: 2 rows read')


def test_a_database_that_the_role_may_not_enter_is_named(watched):
    watched.psql("CREATE DATABASE closed")
    watched.psql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    checks = of(server_checks(watched, capture={"ebpf": False}), "grants")
    assert [check.mark for check in checks] == [Mark.GOOD, Mark.WARN]
    paste(watched, checks[1].remedy)
    [check] = of(server_checks(watched, capture={"ebpf": False}), "grants")
    assert check.mark is Mark.GOOD
    watched.psql("DROP DATABASE closed")


def test_a_superuser_login_is_more_than_is_needed(watched):
    checks = server_checks(watched, {"dsn": watched.dsn()}, capture={"ebpf": False})
    [login] = of(checks, "login")
    assert login.mark is Mark.WARN
    assert "CREATE ROLE pgwarden" in login.remedy


def test_a_dsn_that_leads_nowhere_tells_where_the_server_is_and_no_password(watched):
    dsn = f"host=127.0.0.1 port=1 user=pgwarden password={HIDDEN_WORDS}"
    [login] = of(server_checks(watched, {"dsn": dsn}, capture={"ebpf": False}), "login")
    assert login.mark is Mark.BAD
    assert str(watched.port) in login.remedy
    assert HIDDEN_WORDS not in login.sentence + login.remedy


def test_a_dsn_that_is_none_is_not_repeated(watched):
    dsn = f"{HIDDEN_WORDS} nonsense"
    [login] = of(server_checks(watched, {"dsn": dsn}, capture={"ebpf": False}), "login")
    assert login.mark is Mark.BAD
    assert "no connection string" in login.sentence
    assert HIDDEN_WORDS not in login.sentence + login.remedy


def test_a_dsn_to_another_server_is_noticed(watched, bare):
    [login] = of(server_checks(watched, {"dsn": bare.dsn()}, capture={"ebpf": False}), "login")
    assert login.mark is Mark.BAD
    assert f"another server, the one on port {bare.port}" in login.sentence


def test_peer_authentication_lets_root_ask_as_the_agents_account(watched, tmp_path):
    """Installed, the agent has an account of its own, and root runs doctor."""
    hba = watched.data / "pg_hba.conf"
    kept = hba.read_text()
    # Peer with a map: the account that owns state_dir may be pgwarden, root may not.
    ident = watched.data / "pg_ident.conf"
    kept_ident = ident.read_text()
    hba.write_text(f"local all pgwarden peer map=m\n{kept}")
    ident.write_text("m postgres pgwarden\n")
    watched.reload()
    try:
        refused = {"capture": {"ebpf": False}, "state_dir": str(tmp_path)}
        wait_until(
            lambda: of(server_checks(watched, **refused), "login")[0].mark is Mark.BAD,
            what="pg_hba.conf is in force",
        )
        [login] = of(server_checks(watched, **refused), "login")
        assert "pgwarden  root  pgwarden" in login.remedy
        shutil.chown(tmp_path, "postgres")
        [login] = of(server_checks(watched, **refused), "login")
        assert login.mark is Mark.GOOD
        assert "as the account postgres" in login.sentence
    finally:
        hba.write_text(kept)
        ident.write_text(kept_ident)
        watched.reload()


def test_without_pgaudit_the_printed_sql_and_a_restart_bring_it():
    with PostgresCluster(pgaudit=False) as cluster:
        grant_all(cluster)
        [check] = of(server_checks(cluster, capture={"ebpf": False}), "pgaudit")
        assert check.mark is Mark.BAD
        paste(cluster, check.remedy)
        [waiting] = of(server_checks(cluster, capture={"ebpf": False}), "pgaudit")
        assert waiting.mark is Mark.BAD
        cluster.restart()
        [check, _] = of(server_checks(cluster, capture={"ebpf": False}), "pgaudit")
        assert "pgaudit.log is empty" in check.sentence
        paste(cluster, check.remedy)
        wait_until(
            lambda: (
                of(server_checks(cluster, capture={"ebpf": False}), "pgaudit")[0].mark is Mark.GOOD
            )
        )


def test_settings_that_are_wrong_are_mended_by_the_printed_sql(bare):
    bare.psql("ALTER SYSTEM SET track_activities = off")
    bare.psql("ALTER SYSTEM SET standard_conforming_strings = off")
    bare.psql("SELECT pg_reload_conf()")
    access = {"dsn": bare.dsn()}

    def settings() -> list[Check]:
        return of(server_checks(bare, access, capture={"ebpf": False}), "settings")

    wait_until(lambda: len(settings()) == 3)
    checks = settings()
    assert {check.mark for check in checks} == {Mark.WARN}
    assert any("log_destination is stderr" in check.sentence for check in checks)
    for check in checks:
        paste(bare, check.remedy)
    wait_until(lambda: [check.mark for check in settings()] == [Mark.GOOD], what=str(settings()))


def test_a_plain_text_log_without_the_pid_is_bad_and_without_the_session_a_warning(watched):
    with PostgresCluster(
        log_format="stderr", settings={"log_line_prefix": "%t ", **NAMED}
    ) as cluster:
        grant_all(cluster)

        def pgaudit() -> list[Check]:
            return of(server_checks(cluster, capture={"ebpf": False}), "pgaudit")

        [check] = pgaudit()
        assert check.mark is Mark.BAD
        assert "log_line_prefix" in check.sentence
        paste(cluster, check.remedy)
        wait_until(lambda: [check.mark for check in pgaudit()] == [Mark.GOOD])


def test_a_pgaudit_that_names_no_relations_is_a_warning_with_the_setting():
    with PostgresCluster() as cluster:
        grant_all(cluster)

        def warned() -> list[Check]:
            checks = of(server_checks(cluster, capture={"ebpf": False}), "pgaudit")
            return [check for check in checks if check.mark is not Mark.GOOD]

        [check] = warned()
        assert check.mark is Mark.WARN
        assert "pgaudit does not name the relations" in check.sentence
        paste(cluster, check.remedy)
        wait_until(lambda: not warned())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """pytest's own are closed to other accounts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_an_unprivileged_user_gets_lines_and_no_traceback(watched, open_folder):
    answer = doctor(open_folder, configured(watched), "--json", as_nobody=True)
    assert answer.code == 1
    by_aspect = {row["aspect"]: row for row in answer.rows if "aspect" in row}
    assert by_aspect["capabilities"]["mark"] == "bad"
    assert "pgaudit log alone remains" in by_aspect["loader"]["sentence"]
    assert "could not be looked at" not in answer.out
    skipped = [row["aspect"] for row in answer.rows if row.get("skipped")]
    assert "login" in skipped or by_aspect["server"]["mark"] == "good"
    assert answer.rows[-1]["summary"]["skipped"] == len(skipped)


def test_a_bad_configuration_is_exit_78(tmp_path):
    assert doctor(tmp_path, "agent: {nonsense: 1}\n").code == 78


def test_a_configuration_in_a_closed_folder_is_exit_78_and_says_so(open_folder):
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    answer = doctor(closed, {}, as_nobody=True)
    assert answer.code == 78
    assert "closed to this account" in " ".join(answer.err.split())


@pytest.fixture(scope="module")
def collector(tmp_path_factory) -> Iterator[dict]:
    folder = tmp_path_factory.mktemp("collector")
    port, metrics = free_port(), free_port()
    tree = {
        "agent": {"collector": f"127.0.0.1:{port}"},
        "collector": {
            "data_dir": str(folder / "data"),
            "listen": [f"127.0.0.1:{port}"],
            "metrics": {"port": metrics},
        },
    }
    file = folder / "pgwarden.yaml"
    file.write_text(yaml.safe_dump(tree))
    with (folder / "log").open("wb") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "collector", "--config", str(file)],
            stdout=log,
            stderr=log,
        )
    try:
        config = Config.model_validate(tree)
        wait_until(
            lambda: [check.mark for check in check_collector(config)] == [Mark.GOOD],
            30,
            (folder / "log").read_text(),
        )
        yield tree
    finally:
        program.terminate()
        program.wait(20)


def test_a_running_collector_is_good_and_serves_its_metrics(collector):
    [check] = check_metrics("collector.metrics", Config.model_validate(collector).collector.metrics)
    assert check.mark is Mark.GOOD
    assert "served by the collector" in check.sentence
    [taken] = check_metrics("agent.metrics", Config.model_validate(collector).collector.metrics)
    assert taken.mark is Mark.BAD


def test_tls_against_a_collector_without_it_and_an_expired_certificate_are_told(
    collector, tmp_path
):
    files = certificate(tmp_path, ends=datetime.now(UTC) - timedelta(days=1))
    tree = {"agent": {**collector["agent"], "tls": files}}
    expired, failed = check_collector(Config.model_validate(tree))
    assert "expired" in expired.sentence
    assert failed.mark is Mark.BAD
    assert "TLS failed" in failed.sentence
    assert "openssl s_client" in failed.remedy


def certificate(folder: Path, ends: datetime) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "agent")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=30))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "agent.pem").write_bytes(signed.public_bytes(pem))
    (folder / "agent.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {
        "certificate": str(folder / "agent.pem"),
        "key": str(folder / "agent.key"),
        "ca": str(folder / "agent.pem"),
    }
