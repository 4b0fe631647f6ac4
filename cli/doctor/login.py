"""The catalog login of one server, as the agent will open it, and what to do where it fails."""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from agent.catalog.rights import OUR_ROLE, grants, quoted
from agent.connecting import connect, entry_for
from agent.discovery import Cluster, cluster_at, parent_of
from cli.doctor.check import Check, bad, good, one_line, warn
from config import Config

Connection = psycopg.Connection[Any]

LOOPBACK = "127.0.0.1/32"
SUPERUSER_SQL = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"


@dataclass(frozen=True, slots=True)
class Access:
    """How the configuration says a server is reached. No password is in it."""

    cluster: Cluster
    role: str
    database: str
    by_dsn: bool
    local: bool
    """Over a unix socket: pg_hba.conf's ``local`` lines apply."""

    @property
    def aim(self) -> str:
        how = "agent.clusters dsn" if self.by_dsn else "agent.catalog.user over the unix socket"
        return f"{self.role} in database {self.database} ({how})"


class BadDsnError(Exception):
    """The configured dsn is no connection string. The text holds nothing of it."""


def access_to(config: Config, cluster: Cluster) -> Access:
    """Raises BadDsnError."""
    entry = entry_for(config.agent, cluster)
    if entry is None or entry.dsn is None:
        catalog = config.agent.catalog
        return Access(cluster, catalog.user, catalog.database, by_dsn=False, local=True)
    try:
        words = conninfo_to_dict(entry.dsn.get_secret_value())
    except psycopg.Error as error:
        # libpq quotes the part that it stumbled over, which may be the password.
        raise BadDsnError(re.sub(r'"[^"]*"', '"…"', one_line(str(error)))) from None
    role = str(words.get("user") or os.environ.get("PGUSER") or getpass.getuser())
    host = str(words.get("host") or words.get("hostaddr") or "")
    return Access(
        cluster,
        role,
        str(words.get("dbname") or os.environ.get("PGDATABASE") or role),
        by_dsn=True,
        local=not host or host.startswith(("/", "@")),
    )


def open_login(config: Config, cluster: Cluster) -> tuple[Check, Connection | None]:
    """A connection, and the line that says how that went."""
    try:
        access = access_to(config, cluster)
    except BadDsnError as error:
        remedy = f"agent.clusters dsn: {_example(cluster, OUR_ROLE, 'postgres')}"
        return bad("login", f"agent.clusters dsn is no connection string: {error}", remedy), None
    account = ""
    connection: Connection | None = None
    try:
        connection = connect(config.agent, cluster)
    except psycopg.Error as error:
        if "peer" in str(error).lower() and not access.by_dsn:
            connection, account = _as_agents_account(config, cluster)
        if connection is None:
            said = _scrubbed(str(error), config)
            return bad("login", f"{access.aim}: {said}", remedy_for(said, access)), None
    stray = _leads_elsewhere(connection, access)
    if stray is not None:
        connection.close()
        return stray, None
    return _logged_in(connection, access, account), connection


def remedy_for(said: str, access: Access) -> str:
    """For what the server, or libpq, said. An answer in another language gets everything."""
    for pattern, lines in (
        (r'role ".*" does not exist', _create_role),
        (r'database ".*" does not exist', _choose_database),
        (r"Peer authentication failed|Ident authentication failed", _peer_line),
        (r"no pg_hba\.conf entry", _hba_line),
        (r"password authentication failed|no password supplied", _password),
        (r"permission denied for database|CONNECT privilege", _connect_privilege),
        (
            r"refused|No such file|timeout|could not translate|resolve|closed the connection",
            _where_it_listens,
        ),
    ):
        if re.search(pattern, said):
            return _from_there("\n".join(lines(access)), said)
    return "\n".join([*_create_role(access), *_hba_line(access)])


def _from_there(remedy: str, said: str) -> str:
    """The server says which address it sees us come from."""
    seen = re.search(r'entry for host "([0-9a-f.:]+)"', said)
    if seen is None:
        return remedy
    return remedy.replace(LOOPBACK, f"{seen[1]}/{128 if ':' in seen[1] else 32}")


def as_superuser(cluster: Cluster, database: str = "postgres") -> str:
    """The command that the SQL below it goes into, as a comment so that all of it can be pasted."""
    folders = cluster.socket_directories
    host = f"--host={folders[0]} " if folders else ""
    return f"-- sudo -u postgres psql {host}--port={cluster.port} {shlex.quote(database)}"


def _create_role(access: Access) -> list[str]:
    return [as_superuser(access.cluster), *grants(access.role, access.cluster.version)]


def _choose_database(access: Access) -> list[str]:
    if access.by_dsn:
        return [f"agent.clusters dsn: {_example(access.cluster, access.role, 'postgres')}"]
    return ["agent.catalog.database: postgres"]


def _peer_line(access: Access) -> list[str]:
    role = access.role
    return [
        f"# {_hba_file(access)}, above other local lines. Peer lets the account of the same name "
        "in:",
        f"local  all  {role}  peer",
        "# and for root too, in pg_ident.conf, with map=pgwarden behind peer:",
        f"pgwarden  root  {role}",
        f"pgwarden  {role}  {role}",
        "# then, as a superuser:",
        "SELECT pg_reload_conf();",
    ]


def _hba_line(access: Access) -> list[str]:
    line = (
        f"local  all  {access.role}  peer"
        if access.local
        else f"host  all  {access.role}  {LOOPBACK}  scram-sha-256"
    )
    return [
        f"-- a line in {_hba_file(access)}, above those that say otherwise:",
        f"--   {line}",
        as_superuser(access.cluster),
        "SELECT pg_reload_conf();",
    ]


def _password(access: Access) -> list[str]:
    return [
        as_superuser(access.cluster),
        f"-- if the role is missing: {grants(access.role, access.cluster.version)[0]}",
        f"\\password {quoted(access.role)}",
        "-- then the same in the file that agent.clusters dsn_file names, or without a password:",
        f"-- a line in {_hba_file(access)}: local  all  {access.role}  peer",
    ]


def _connect_privilege(access: Access) -> list[str]:
    name, role = quoted(access.database), quoted(access.role)
    return [as_superuser(access.cluster), f"GRANT CONNECT ON DATABASE {name} TO {role};"]


def _where_it_listens(access: Access) -> list[str]:
    cluster = access.cluster
    lines = [f"# this server listens on port {cluster.port}"]
    if cluster.socket_directories:
        lines[0] += f" and in {cluster.socket_directories[0]}"
    example = _example(cluster, access.role, access.database)
    return [*lines, f"agent: {{clusters: [{{port: {cluster.port}, dsn: '{example}'}}]}}"]


def _example(cluster: Cluster, role: str, database: str) -> str:
    host = str(cluster.socket_directories[0]) if cluster.socket_directories else "127.0.0.1"
    return f"host={host} port={cluster.port} user={role} dbname={database}"


def _hba_file(access: Access) -> str:
    file = access.cluster.data_directory / "pg_hba.conf"
    return str(file) if os.path.exists(file) else "pg_hba.conf (SHOW hba_file tells where)"


def _as_agents_account(config: Config, cluster: Cluster) -> tuple[Connection | None, str]:
    """Root asks for what the agent's account may: peer authentication looks at who connects."""
    try:
        owner = pwd.getpwuid(config.agent.state_dir.stat().st_uid)
    except (OSError, KeyError):
        return None, ""
    if os.geteuid() != 0 or owner.pw_uid == 0:
        return None, ""
    try:
        with _effective_user(owner.pw_uid):
            return connect(config.agent, cluster), owner.pw_name
    except psycopg.Error:
        return None, ""


@contextmanager
def _effective_user(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def _leads_elsewhere(connection: Connection, access: Access) -> Check | None:
    """A dsn may well reach a server, and the wrong one. In containers pids differ: unknown."""
    other = cluster_at(parent_of(connection.info.backend_pid))
    cluster = access.cluster
    if other is None or other.postmaster_pid == cluster.postmaster_pid:
        return None
    if other.port != connection.info.port and not access.local:
        return None  # a pid of another namespace that happens to be a server's here
    sentence = f"agent.clusters dsn leads to another server, the one on port {other.port}"
    return bad("login", sentence, "\n".join(_where_it_listens(access)))


def _logged_in(connection: Connection, access: Access, account: str) -> Check:
    aim = access.aim + (f", as the account {account}" if account else "")
    if connection.execute(SUPERUSER_SQL).fetchone() == (True,):
        return warn(
            "login",
            f"{aim} is a superuser: more than pgwarden needs",
            "\n".join(
                [
                    "-- a role of its own:",
                    *grants(OUR_ROLE, access.cluster.version),
                    "-- agent.catalog.user",
                ]
            ),
        )
    return good("login", aim)


def _scrubbed(message: str, config: Config) -> str:
    """One line, without any password of the configuration."""
    text = one_line(message)
    for entry in config.agent.clusters:
        if entry.dsn is None:
            continue
        try:
            password = conninfo_to_dict(entry.dsn.get_secret_value()).get("password")
        except psycopg.Error:
            continue
        if password:
            text = text.replace(str(password), "…")
    return text[:400]
