"""One server with the world that the corpus attacks, and how to put it back as it was."""

import json
import os
import shutil
from pathlib import Path

import psycopg

from cli.demo.cluster import SERVER_ACCOUNT
from tests.conformance.servers import Server

FOLDER = Path(__file__).parent
DATABASE, TEMPLATE = "shop", "shop_template"
ROLES = """
CREATE ROLE keeper LOGIN SUPERUSER REPLICATION;
CREATE ROLE mallory LOGIN SUPERUSER REPLICATION;
CREATE ROLE clerk LOGIN CREATEROLE CREATEDB;
CREATE ROLE assistant LOGIN;
CREATE ROLE analyst;
CREATE ROLE etl;
CREATE ROLE rds_superuser SUPERUSER;
GRANT rds_superuser TO etl;
CREATE ROLE pgwarden LOGIN;
GRANT pg_monitor TO pgwarden;
"""
State = dict[str, object]
ATTEMPTS = 20
VACUUM_EVERY = 20
"""Mends: the catalogs swell with what was dropped."""


class Stage:
    """Started and removed by ``with``."""

    def __init__(self, major: int) -> None:
        self.server = Server(
            major=major,
            settings={
                "max_connections": "60",
                "wal_level": "logical",
                "max_prepared_transactions": "5",
                "log_min_messages": "fatal",
                "autovacuum": "off",
                "jit": "off",
                "max_wal_senders": "5",
            },
        )
        self.loot = self.server.folder / "loot"
        """A folder of the server's account: what programs and COPY may leave there shows."""
        self._keeper: psycopg.Connection | None = None
        self._mended = 0
        self._query = (FOLDER / "state.sql").read_text().replace("{loot}", str(self.loot))
        self._mark_query = (FOLDER / "mark.sql").read_text()

    def __enter__(self) -> "Stage":
        try:
            self.server.create()
            with (self.server.data / "pg_hba.conf").open("a") as hba:
                hba.write("host replication all 127.0.0.1/32 trust\n")
            self.loot.mkdir()
            if os.geteuid() == 0:
                shutil.chown(self.loot, SERVER_ACCOUNT, SERVER_ACCOUNT)
            self.server.start()
            self._make_world()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.close()
        self.server.remove()

    def conninfo(self, login: str, options: str = "", **more: str) -> str:
        words = {"application_name": "corpus", "sslmode": "disable"} | more
        return self.server.dsn(
            user=login,
            dbname=DATABASE,
            options=f"-c statement_timeout=8s -c lock_timeout=3s {options}",
            **words,
        )

    @property
    def keeper(self) -> psycopg.Connection:
        if self._keeper is None or self._keeper.closed:
            self._keeper = self.server.connect(user="keeper", dbname=DATABASE)
            self._keeper.prepare_threshold = None
        return self._keeper

    def state(self) -> State:
        return self.keeper.execute(self._query).fetchone()[0]

    def mark(self) -> tuple[object, ...]:
        """Stays the same as long as the state does; much cheaper to ask for."""
        [text] = self.keeper.execute(self._mark_query, prepare=True).fetchone()
        configured = (
            (file.name, found.st_ino, found.st_mtime_ns)
            for file in self.server.data.glob("*.conf")
            if (found := file.stat())
        )
        slots = self.server.data / "pg_replslot"
        return text, *sorted(configured), *sorted(os.listdir(slots)), *sorted(os.listdir(self.loot))

    def set_up(self, sql: str) -> None:
        self.keeper.execute(sql)

    def clean(self) -> None:
        """What entries made for themselves."""
        self.keeper.execute(
            "DROP SCHEMA attack CASCADE; CREATE SCHEMA attack;"
            "GRANT ALL ON SCHEMA attack TO PUBLIC;"
            "CREATE TABLE attack.bait (id int, note text); GRANT ALL ON attack.bait TO PUBLIC"
        )

    def reset(self, baseline: State) -> None:
        """After an attack that came through: the world again as it was, the quick way if it serves.
        Raises RuntimeError where nothing helps."""
        try:
            self._mend()
            if not changed(baseline, self.state()):
                return
        except psycopg.Error:
            pass
        self._renew()
        if left := changed(baseline, self.state()):
            raise RuntimeError(f"the world could not be restored: {left}")

    def _mend(self) -> None:
        """The same objects made again in the same database."""
        with self.server.connect(dbname=DATABASE) as admin:
            self._empty_loot(admin)
            self._restore_roles(admin)
            for (name,) in admin.execute("SELECT datname FROM pg_database").fetchall():
                if name not in self._databases:
                    self._insist(admin, f'DROP DATABASE "{name}"', name)
            admin.execute("DROP SCHEMA IF EXISTS hr, shop, attack, hr_old CASCADE")
            admin.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
            self._mended += 1
            if self._mended % VACUUM_EVERY == 0:
                admin.execute("VACUUM")
            admin.execute("SET SESSION AUTHORIZATION keeper; " + (FOLDER / "world.sql").read_text())

    def _empty_loot(self, admin: psycopg.Connection) -> None:
        for (name,) in admin.execute(_TABLESPACE_QUERY).fetchall():
            admin.execute(f'DROP TABLESPACE "{name}"')
        for name in self.loot.iterdir():
            name.unlink()
        (self.server.data / "postgresql.auto.conf").write_text("")

    def _renew(self) -> None:
        """Everything from the template."""
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        with self.server.connect() as admin:
            self._empty_loot(admin)
            self._restore_roles(admin)
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname IN ('{DATABASE}', 'template1') AND pid <> pg_backend_pid()"
            )
            for (name,) in admin.execute("SELECT slot_name FROM pg_replication_slots").fetchall():
                admin.execute("SELECT pg_drop_replication_slot(%s)", (name,))
            self._drop_databases(admin)
            fast = " STRATEGY file_copy" if self.server.major >= 15 else ""
            self._insist(admin, f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}{fast}", TEMPLATE)
            self._drop_roles(admin)
            admin.execute("SELECT pg_reload_conf()")

    def _make_world(self) -> None:
        with self.server.connect() as admin:
            admin.execute(ROLES)
            admin.execute(f"CREATE DATABASE {TEMPLATE} OWNER keeper")
            with self.server.connect(dbname=TEMPLATE, user="keeper") as keeper:
                keeper.execute((FOLDER / "world.sql").read_text())
            admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}")
            self._roles = {row[0]: row for row in admin.execute(_ROLE_QUERY)}
            self._databases = {row[0] for row in admin.execute("SELECT datname FROM pg_database")}
            self._members = set(admin.execute(_MEMBER_QUERY))

    def _restore_roles(self, admin: psycopg.Connection) -> None:
        present = {row[0]: row for row in admin.execute(_ROLE_QUERY)}
        for name, row in self._roles.items():
            if name not in present:
                admin.execute(f'CREATE ROLE "{name}"')
            if present.get(name) != row:
                words = zip(_ATTRIBUTES, row[1:], strict=True)
                said = " ".join(word if on else f"NO{word}" for word, on in words)
                admin.execute(f'ALTER ROLE "{name}" {said}')
        admin.execute(
            "UPDATE pg_authid SET rolpassword = NULL, rolvaliduntil = NULL, rolconnlimit = -1 "
            "WHERE oid > 16383 OR oid = 10"
        )
        admin.execute("UPDATE pg_tablespace SET spcacl = NULL WHERE spcacl IS NOT NULL")
        admin.execute("UPDATE pg_database SET datconnlimit = -1 WHERE datconnlimit > 0")
        if self.server.major >= 15:
            admin.execute("DELETE FROM pg_parameter_acl")
        for name, database in admin.execute(_SETTING_QUERY).fetchall():
            within = f'IN DATABASE "{database}"' if database else ""
            who = f'ROLE "{name}"' if name else "ROLE ALL"
            admin.execute(f"ALTER {who} {within} RESET ALL")
        members = set(admin.execute(_MEMBER_QUERY))
        for role, member, _ in members - self._members:
            admin.execute(f'REVOKE "{role}" FROM "{member}" CASCADE')
        for role, member, admin_option in self._members - members:
            admin.execute(f'GRANT "{role}" TO "{member}"' + " WITH ADMIN OPTION" * admin_option)

    def _drop_databases(self, admin: psycopg.Connection) -> None:
        with (
            self.server.connect(dbname=DATABASE) if self._has_database(admin) else _nobody() as own
        ):
            if own is not None:
                for (gid,) in own.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
                    own.execute(f"ROLLBACK PREPARED '{gid}'")
                for (name,) in own.execute("SELECT subname FROM pg_subscription").fetchall():
                    own.execute(f'ALTER SUBSCRIPTION "{name}" DISABLE')
                    own.execute(f'ALTER SUBSCRIPTION "{name}" SET (slot_name = NONE)')
                    own.execute(f'DROP SUBSCRIPTION "{name}"')
        for (name,) in admin.execute("SELECT datname FROM pg_database").fetchall():
            if name == DATABASE or name not in self._databases:
                admin.execute(
                    f"UPDATE pg_database SET datistemplate = false WHERE datname = '{name}'"
                )
                self._insist(admin, f'DROP DATABASE "{name}"', name)
        admin.execute("ALTER DATABASE postgres RESET ALL")

    def _insist(self, admin: psycopg.Connection, sql: str, database: str) -> None:
        """The agent looks into each database now and then, and is in the way."""
        for attempt in range(ATTEMPTS):
            try:
                admin.execute(sql)
                return
            except psycopg.errors.ObjectInUse:
                if attempt == ATTEMPTS - 1:
                    raise
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    f"WHERE datname = '{database}'"
                )

    def _has_database(self, admin: psycopg.Connection) -> bool:
        found = admin.execute(f"SELECT datallowconn FROM pg_database WHERE datname = '{DATABASE}'")
        return (found.fetchone() or (False,))[0]

    def _drop_roles(self, admin: psycopg.Connection) -> None:
        for name, *_ in admin.execute(_ROLE_QUERY).fetchall():
            if name not in self._roles:
                admin.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


class _nobody:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_ATTRIBUTES = (
    "SUPERUSER",
    "INHERIT",
    "CREATEROLE",
    "CREATEDB",
    "LOGIN",
    "REPLICATION",
    "BYPASSRLS",
)
_ROLE_QUERY = (
    "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, "
    "rolreplication, rolbypassrls FROM pg_roles"
)
_MEMBER_QUERY = (
    "SELECT roleid::regrole::text, member::regrole::text, bool_or(admin_option) "
    "FROM pg_auth_members GROUP BY 1, 2"
)
_TABLESPACE_QUERY = "SELECT spcname FROM pg_tablespace WHERE oid > 16383"
_SETTING_QUERY = (
    "SELECT rolname, datname FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole "
    "LEFT JOIN pg_database d ON d.oid = setdatabase"
)


def changed(before: State, after: State) -> list[str]:
    """What differs, for people: ``rows hr.salaries``."""
    out = []
    for key in before:
        old, new = before[key], after[key]
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            names = sorted(n for n in old.keys() | new.keys() if old.get(n) != new.get(n))
            out.append(f"{key}: {', '.join(names[:4])}")
        else:
            out.append(key)
    return out


def as_text(state: State) -> str:
    return json.dumps(state, sort_keys=True)
