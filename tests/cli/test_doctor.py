"""What doctor says of a host, without a server: the host is a folder that a test writes."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from agent.catalog.rights import grants, quoted
from agent.discovery import Cluster
from cli.doctor.check import Mark, attempt, bad, good, skipped, warn
from cli.doctor.collector import check_collector, check_metrics
from cli.doctor.examine import _none_found
from cli.doctor.host import (
    check_capabilities,
    check_disk,
    check_kernel,
    check_lockdown,
    check_ptrace,
)
from cli.doctor.login import Access, remedy_for
from cli.doctor.parts import check_loader, check_rules
from cli.doctor.report import as_json, counts, line, summary
from cli.doctor.server import check_guard, check_version
from config import Config
from config.schema import Listen
from model.verdict import Mode

NEW_KERNEL = "6.1.0-28-amd64"
ALL = (1 << 41) - 1
CLUSTER = Cluster(
    name="5432",
    postmaster_pid=2**22 + 1,
    postmaster_started_ticks=1,
    binary=Path("/nowhere"),
    device=1,
    inode=1,
    data_directory=Path("/nowhere/data"),
    port=5432,
    socket_directories=(Path("/run/postgresql"),),
    version=15,
)
ACCESS = Access(CLUSTER, "pgwarden", "postgres", by_dsn=False, local=True)


def host(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def capabilities(root: Path, effective: int, release: str = NEW_KERNEL, **more):
    host(root, {"proc/self/status": f"Name:\tx\nCapEff:\t{effective:016x}\n"})
    return check_capabilities(root, release, **more)


@pytest.mark.parametrize(
    ("release", "machine", "mark"),
    [
        (NEW_KERNEL, "x86_64", Mark.GOOD),
        ("5.8.0", "x86_64", Mark.GOOD),
        ("5.10+", "x86_64", Mark.GOOD),
        ("10.0-rc1", "x86_64", Mark.GOOD),
        ("5.4.0-200-generic", "x86_64", Mark.BAD),
        ("4.19", "x86_64", Mark.BAD),
        (NEW_KERNEL, "aarch64", Mark.BAD),
        ("", "x86_64", Mark.WARN),
    ],
)
def test_a_kernel_is_judged_by_its_version_and_machine(release, machine, mark):
    check = check_kernel(release, machine)
    assert check.mark is mark
    assert bool(check.remedy) == (mark is not Mark.GOOD)


def test_root_has_all_that_is_needed(tmp_path):
    assert capabilities(tmp_path, ALL).mark is Mark.GOOD


def test_without_bpf_rights_it_says_that_the_pgaudit_log_remains(tmp_path):
    check = capabilities(tmp_path, ALL & ~(1 << 39) & ~(1 << 21))
    assert check.mark is Mark.BAD
    assert "CAP_BPF is missing: no eBPF capture: the pgaudit log alone remains" in check.sentence
    assert "sudo pgwarden doctor" in check.remedy


def test_sys_admin_stands_for_the_bpf_capabilities(tmp_path):
    assert capabilities(tmp_path, ALL & ~(1 << 39) & ~(1 << 38)).mark is Mark.GOOD


def test_what_is_missing_is_only_a_warning_where_nothing_configured_needs_it(tmp_path):
    nothing = capabilities(tmp_path, 0, ebpf=False, mode=Mode.OBSERVE)
    assert nothing.mark is Mark.WARN
    assert capabilities(tmp_path, ALL & ~(1 << 5), mode=Mode.OBSERVE).mark is Mark.WARN
    assert capabilities(tmp_path, ALL & ~(1 << 5), mode=Mode.ENFORCE).mark is Mark.BAD


def test_memory_limits_of_old_kernels_need_a_capability_that_new_ones_do_not(tmp_path):
    without = ALL & ~(1 << 24)
    assert capabilities(tmp_path, without, "5.10.0-28-amd64").mark is Mark.WARN
    assert capabilities(tmp_path, without).mark is Mark.GOOD


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("[none] integrity confidentiality\n", Mark.GOOD),
        ("none [integrity] confidentiality\n", Mark.GOOD),
        ("none integrity [confidentiality]\n", Mark.BAD),
    ],
)
def test_lockdown_is_bad_when_bpf_may_not_read_memory(tmp_path, text, mark):
    check = check_lockdown(host(tmp_path, {"sys/kernel/security/lockdown": text}))
    assert check.mark is mark


def test_a_kernel_without_lockdown_or_yama_is_good(tmp_path):
    assert check_lockdown(tmp_path).mark is Mark.GOOD
    assert check_ptrace(tmp_path).mark is Mark.GOOD


@pytest.mark.parametrize(("scope", "mark"), [("0", Mark.GOOD), ("2", Mark.GOOD), ("3", Mark.WARN)])
def test_ptrace_scope_3_costs_the_message_of_a_refusal(tmp_path, scope, mark):
    check = check_ptrace(host(tmp_path, {"proc/sys/kernel/yama/ptrace_scope": scope + "\n"}))
    assert check.mark is mark


def test_a_folder_that_is_still_to_be_made_is_judged_by_what_it_is_made_in(tmp_path):
    check = check_disk("agent.state_dir", tmp_path / "a" / "b")
    assert check.mark is Mark.GOOD
    assert str(tmp_path / "a" / "b") in check.sentence


def test_a_folder_below_a_file_is_bad(tmp_path):
    (tmp_path / "file").write_text("")
    check = check_disk("agent.state_dir", tmp_path / "file" / "b")
    assert check.mark is Mark.BAD
    assert "is not a folder" in check.sentence


def test_a_check_that_fails_is_a_line_and_no_traceback():
    def look():
        yield good("disk", "first")
        raise RuntimeError("boom\x1b[31m\nsecond line")

    first, failed = attempt("disk", look, "5432")
    assert (first.mark, first.server) == (Mark.GOOD, "5432")
    assert failed.mark is Mark.BAD
    assert "RuntimeError: boom" in failed.sentence
    assert "\x1b" not in line(failed).plain


def test_a_skipped_check_says_what_is_missing_and_is_counted():
    checks = [good("a", "x"), skipped("grants", "login"), bad("b", "y", "do it")]
    assert checks[1].sentence == "skipped: no login"
    assert counts(checks) == {"good": 1, "warn": 1, "bad": 1, "skipped": 1}
    assert "(1 of them skipped)" in summary(counts(checks)).plain


def test_each_line_of_a_remedy_stands_by_itself_to_be_copied():
    text = line(replace(warn("grants", "some", "GRANT a;\nGRANT b;"), server="5432")).plain
    assert text.splitlines()[1:] == ["    GRANT a;", "    GRANT b;"]
    assert text.startswith("! 5432: grants")


def test_json_survives_a_name_that_is_no_utf_8():
    told = json.loads(as_json(good("server", "/data/\udcff")))
    assert told["mark"] == "good"
    assert told["sentence"] == "/data/\\udcff"


def test_the_grants_of_another_role_name_it_quoted():
    assert quoted('we"ird') == '"we""ird"'
    statements = grants("Watch", 15)
    assert statements[0] == 'CREATE ROLE "Watch" LOGIN;'
    assert all('"Watch"' in each and "pgwarden" not in each for each in statements)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ('FATAL: role "pgwarden" does not exist', "CREATE ROLE pgwarden LOGIN;"),
        ('FATAL: database "shop" does not exist', "agent.catalog.database: postgres"),
        ('FATAL: Peer authentication failed for user "pgwarden"', "local  all  pgwarden  peer"),
        ('FATAL: no pg_hba.conf entry for host "[local]"', "local  all  pgwarden  peer"),
        ('FATAL: password authentication failed for user "pgwarden"', "\\password pgwarden"),
        ("fe_sendauth: no password supplied", "\\password pgwarden"),
        (
            'FATAL: permission denied for database "postgres"',
            'GRANT CONNECT ON DATABASE "postgres" TO pgwarden;',
        ),
        ("Connection refused", "port: 5432"),
        ("connection timeout expired", "host=/run/postgresql port=5432"),
        ("FATAL:  Rolle existiert nicht", "CREATE ROLE pgwarden LOGIN;"),
        ("FATAL:  Rolle existiert nicht", "local  all  pgwarden  peer"),
    ],
)
def test_a_refused_login_gets_the_remedy_for_what_was_said(said, remedy):
    assert remedy in remedy_for(said, ACCESS)


@pytest.mark.parametrize(
    ("address", "line"),
    [("10.0.0.7", "10.0.0.7/32  scram"), ("fd00::7", "fd00::7/128  scram"), ("[local]", "127.0")],
)
def test_the_line_for_pg_hba_has_the_address_that_the_server_sees(address, line):
    said = f'FATAL: no pg_hba.conf entry for host "{address}", user "pgwarden"'
    assert line in remedy_for(said, replace(ACCESS, by_dsn=True, local=False))


def test_a_server_that_the_probes_do_not_know_is_bad():
    assert check_version(CLUSTER)[0].mark is Mark.GOOD
    assert check_version(replace(CLUSTER, version=11))[0].mark is Mark.BAD
    assert check_version(replace(CLUSTER, version=99))[0].mark is Mark.BAD


@pytest.mark.parametrize(
    ("mode", "mark"), [("off", Mark.GOOD), ("observe", Mark.WARN), ("enforce", Mark.BAD)]
)
def test_a_server_that_cannot_be_redirected_matters_as_much_as_the_mode_says(mode, mark):
    config = Config.model_validate({"agent": {"guard": {"mode": mode}}})
    [check] = check_guard(config, CLUSTER)
    assert check.mark is mark


def test_enforce_without_ebpf_is_bad():
    config = Config.model_validate(
        {"agent": {"guard": {"mode": "enforce"}, "capture": {"ebpf": False}}}
    )
    assert check_guard(config, CLUSTER)[0].mark is Mark.BAD
    assert check_loader(config)[0].mark is Mark.GOOD


def test_no_watched_server_names_those_that_are_there():
    check = _none_found([CLUSTER])
    assert check.mark is Mark.BAD
    assert "agent: {clusters: [{port: 5432}]}" in check.remedy


def test_rules_that_cannot_be_used_are_bad_with_file_and_line(tmp_path):
    (tmp_path / "r.yaml").write_text("rules:\n  - id: x\n    nonsense: 1\n")
    config = Config.model_validate({"agent": {"rules": {"packs": [str(tmp_path)]}}})
    checks = check_rules(config)
    assert {check.mark for check in checks} == {Mark.BAD}
    assert "r.yaml:" in checks[0].sentence
    assert check_rules(Config())[0].mark is Mark.GOOD


def collector_checks(address: str, tls: dict | None = None):
    agent = {"collector": address} | ({"tls": tls} if tls else {})
    return list(check_collector(Config.model_validate({"agent": agent})))


def test_a_collector_that_is_not_there_is_bad_with_the_command(tmp_path):
    [check] = collector_checks(f"unix:{tmp_path}/none.sock")
    assert (check.mark, check.remedy) == (Mark.BAD, "pgwarden up")


def test_a_collector_on_the_network_needs_tls():
    [check] = collector_checks("192.0.2.1:5000")
    assert check.mark is Mark.BAD
    assert "agent.tls" in check.remedy


def test_a_certificate_that_is_missing_is_bad(tmp_path):
    files = {name: str(tmp_path / name) for name in ("certificate", "key", "ca")}
    [check] = collector_checks("127.0.0.1:1", files)
    assert check.mark is Mark.BAD
    assert "No such file" in check.sentence


def test_what_listens_and_is_no_collector_is_bad():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        [check] = collector_checks(f"127.0.0.1:{mute.getsockname()[1]}")
    assert check.mark is Mark.BAD
    assert "does not speak our protocol" in check.sentence


def test_a_port_of_metrics_is_free_taken_or_nowhere():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        [taken] = check_metrics("agent.metrics", Listen(port=port))
    [free] = check_metrics("agent.metrics", Listen(port=port))
    [nowhere] = check_metrics("agent.metrics", Listen(host="192.0.2.1", port=port))
    assert (taken.mark, free.mark, nowhere.mark) == (Mark.BAD, Mark.GOOD, Mark.BAD)
    assert f"sport = :{port}" in taken.remedy
