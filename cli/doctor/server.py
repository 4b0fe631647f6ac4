"""What one server must say, log and allow, asked through the agent's own login."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from agent.catalog.rights import quoted
from agent.discovery import Cluster
from agent.guard.server import ERROR_DATA, Server, UnknownServerError
from agent.probes.layouts import LAYOUTS
from agent.sources.pgaudit import Location, locate
from cli.doctor.check import Check, bad, good, one_line, warn
from cli.doctor.login import Connection
from config import Config
from model.verdict import Mode

JSONLOG_SINCE = 15
RELOAD = "SELECT pg_reload_conf();"
RESTART = "-- then restart the server"
SETTINGS_SQL = """
SELECT name, setting, pending_restart FROM pg_settings
WHERE name IN ('track_activities', 'standard_conforming_strings', 'log_destination',
               'logging_collector', 'shared_preload_libraries')
"""
WANTED = {
    "track_activities": ("on", "statements that run already have no start time"),
    "standard_conforming_strings": (
        "on",
        "a backslash may end a string where the parser sees none: rules can be talked past",
    ),
}
"""Setting, its value, and what is lost with another one."""
RELATIONS_SQL = "SELECT setting FROM pg_settings WHERE name = 'pgaudit.log_relation'"


def check_version(cluster: Cluster) -> list[Check]:
    if cluster.version in LAYOUTS:
        return [good("version", f"PostgreSQL {cluster.version}")]
    known = f"{min(LAYOUTS)} to {max(LAYOUTS)}"
    return [
        bad(
            "version",
            f"PostgreSQL {cluster.version} is unknown to the probes, which know {known}: its "
            "pgaudit log alone remains",
            "install a pgwarden release that knows it",
        )
    ]


def check_settings(cluster: Cluster, connection: Connection) -> list[Check]:
    rows = connection.execute(SETTINGS_SQL).fetchall()
    settings = {_text(name): _text(value) for name, value, _ in rows}
    found = [
        warn(
            "settings",
            f"{name} is {settings[name]}: {loss}",
            f"ALTER SYSTEM SET {name} = {value}; {RELOAD}",
        )
        for name, (value, loss) in WANTED.items()
        if settings.get(name, value) != value
    ]
    found += _destination(cluster, settings)
    waiting = sorted(_text(name) for name, _, pending in rows if pending)
    if waiting:
        command = f"pg_ctl restart -D {cluster.data_directory}  # or systemctl restart postgresql"
        sentence = f"{', '.join(waiting)}: set, but in force after a restart only"
        found.append(warn("settings", sentence, command))
    return found or [good("settings", "those that capture and rules rely on are right")]


def _destination(cluster: Cluster, settings: dict[str, str]) -> list[Check]:
    """What a client writes can imitate a record in the plain text log only: names of users and
    databases stand in its prefix as they came, before anybody has logged in."""
    given = [part.strip() for part in settings.get("log_destination", "").split(",") if part]
    collects = settings.get("logging_collector") == "on"
    if collects and {"jsonlog", "csvlog"} & set(given):
        return []
    better = "jsonlog" if cluster.version >= JSONLOG_SINCE else "csvlog"
    value = f"'{','.join([*given, better])}'"
    return [
        warn(
            "settings",
            f"log_destination is {', '.join(given) or 'empty'}: in plain text who can open a "
            f"connection, without any login, can imitate records of others, in {better} not",
            f"ALTER SYSTEM SET log_destination = {value}; {RELOAD}"
            if collects
            else f"ALTER SYSTEM SET logging_collector = on; "
            f"ALTER SYSTEM SET log_destination = {value}; -- and restart PostgreSQL",
        )
    ]


def check_audit(config: Config, cluster: Cluster, connection: Connection) -> Iterator[Check]:
    """pgaudit, and its log: found, in a form that can be read, by this account."""
    if not config.agent.capture.pgaudit:
        yield good("pgaudit", "not used: agent.capture.pgaudit is false")
        return
    in_container = cluster.data_directory.is_relative_to("/proc")
    root = Path(f"/proc/{cluster.postmaster_pid}/root" if in_container else "/")
    location = locate(connection, root, cluster.postmaster_pid)
    role = quoted(connection.info.user)
    for problem in location.problems:
        mark = bad if problem.fatal else warn
        yield mark("pgaudit", problem.what, problem.remedy.replace("CURRENT_USER", role))
    if location.usable:
        yield _log_files(location)
    elif not location.problems:
        yield bad("pgaudit", "its log was not found", "SHOW log_destination; SHOW log_directory;")
    yield from _relations(connection)


def _relations(connection: Connection) -> Iterator[Check]:
    """No row where pgaudit is not loaded, which is told by then."""
    row = connection.execute(RELATIONS_SQL).fetchone()
    if row is not None and _text(row[0]) != "on":
        yield warn(
            "pgaudit",
            "pgaudit does not name the relations (pgaudit.log_relation is off): what a view or a "
            "function touches stays unseen",
            f"ALTER SYSTEM SET pgaudit.log_relation = on; {RELOAD}",
        )


def _log_files(location: Location) -> Check:
    folder = location.directory
    try:
        # Not Path.glob: it refuses two stars in a row, which %M%S becomes.
        files = [each for each in folder.iterdir() if fnmatchcase(each.name, location.pattern)]
        newest = max(files, key=lambda file: file.stat().st_mtime_ns)
        newest.open("rb").close()
    except ValueError:  # of max: there is none
        sentence = f"{location.format}: no file {location.pattern} in {folder} yet"
        return warn("pgaudit", sentence, "SELECT 1;  -- any audited statement makes the first one")
    except PermissionError as error:
        return bad(
            "pgaudit",
            f"{location.format}: {error.filename} cannot be read by this account",
            "ALTER SYSTEM SET log_file_mode = '0640'; SELECT pg_reload_conf();\n"
            "-- and: usermod --append --groups postgres pgwarden, or CAP_DAC_READ_SEARCH",
        )
    return good("pgaudit", f"{location.format}, {newest}")


def check_guard(config: Config, cluster: Cluster) -> list[Check]:
    mode = config.agent.guard.mode
    if mode is Mode.OFF:
        return [good("guard", "off: no rule is judged")]
    says = "observe: says what it would stop, and stops nothing"
    if not config.agent.capture.ebpf:
        if mode is Mode.OBSERVE:
            return [good("guard", f"{says}; from the pgaudit log, after the fact")]
        sentence = "enforce needs eBPF: without it nothing can be held"
        return [
            bad("guard", sentence, "set agent.capture.ebpf: true, or agent.guard.mode: observe")
        ]
    why = _cannot_redirect(cluster)
    if why is None:
        return [
            good("guard", says if mode is Mode.OBSERVE else "enforce: refuses before execution")
        ]
    remedy = "sudo pgwarden doctor; or set agent.guard.mode: observe"
    if mode is Mode.OBSERVE:
        remedy = "nothing, unless you want agent.guard.mode: enforce later"
        return [warn("guard", f"{says}; enforce could not refuse here: {why}", remedy)]
    return [bad("guard", f"enforce: {why}", remedy)]


def _cannot_redirect(cluster: Cluster) -> str | None:
    if cluster.version not in ERROR_DATA:
        known = f"{min(ERROR_DATA)} to {max(ERROR_DATA)}"
        return (
            f"a refusal is proven for PostgreSQL {known}; on {cluster.version} a deny becomes a "
            "cancel, without our words for the client"
        )
    try:
        Server.running(cluster.postmaster_pid, cluster.version).address("ThrowErrorData")
    except UnknownServerError as error:
        return one_line(str(error))
    return None


def _text(value: str | bytes) -> str:
    """psycopg gives bytes where the database's encoding is SQL_ASCII."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
