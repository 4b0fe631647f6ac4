"""One server with everything that scenarios need: objects, TLS, a pooler."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import psycopg

from cli.demo.cluster import SERVER_ACCOUNT, as_server_account
from tests.collector.certificates import Authority
from tests.conformance.place import DATABASE, USER, Place
from tests.conformance.servers import Server
from tests.live.postgres import free_port

OBJECTS = Path(__file__).with_name("objects.sql")
TRANSPORTS = ("tcp", "tls", "socket", "pgbouncer")
START_SECONDS = 10


class Stage:
    """Started and removed by ``with``."""

    def __init__(self, major: int, *, pgaudit: bool = False) -> None:
        self.server = Server(
            major=major,
            pgaudit=pgaudit,
            settings={
                "max_connections": "60",
                "wal_level": "logical",
                "max_worker_processes": "8",
                "log_min_messages": "log" if pgaudit else "fatal",
                "autovacuum": "off",
            },
        )
        self.pooler_port = free_port()
        self._pooler: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Stage":
        try:
            self.server.create()
            self._allow_tls()
            self.server.start()
            self._make_objects()
            self._start_pooler()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._pooler is not None:
            self._pooler.terminate()
            self._pooler.wait(10)
        self.server.remove()

    def server_version(self) -> str:
        with self.server.connect() as connection:
            return connection.execute("SHOW server_version").fetchone()[0].split()[0]

    def place(self, application_name: str, transport: str) -> Place:
        through_socket = transport == "socket"
        folder = self.server.folder / "scenarios" / application_name.replace("/", "-")
        folder.mkdir(parents=True)
        return Place(
            application_name=application_name,
            transport=transport,
            host=str(self.server.sockets) if through_socket else "127.0.0.1",
            port=self.pooler_port if transport == "pgbouncer" else self.server.port,
            # The pooler is the server's client, and comes over the socket.
            client_address="local" if through_socket or transport == "pgbouncer" else "127.0.0.1",
            admin_dsn=self.server.dsn(dbname=DATABASE, application_name="admin"),
            folder=folder,
            major=self.server.major,
        )

    def _allow_tls(self) -> None:
        files = Authority(self.server.folder / "certificates").issue("localhost")
        for name, source, mode in (
            ("server.crt", files.certificate, 0o644),
            ("server.key", files.key, 0o600),
        ):
            shutil.copy(source, self.server.data / name)
            (self.server.data / name).chmod(mode)
            if os.geteuid() == 0:
                shutil.chown(self.server.data / name, SERVER_ACCOUNT, SERVER_ACCOUNT)
        with (self.server.data / "postgresql.conf").open("a") as conf:
            conf.write("ssl = on\n")
        with (self.server.data / "pg_hba.conf").open("a") as hba:
            hba.write("host replication all 127.0.0.1/32 trust\n")

    def _make_objects(self) -> None:
        with self.server.connect() as connection:
            connection.execute(
                "CREATE ROLE pgwarden LOGIN IN ROLE pg_monitor;"
                f"CREATE ROLE {USER} LOGIN REPLICATION"
            )
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}")
        with psycopg.connect(
            self.server.dsn(user=USER, dbname=DATABASE, application_name="admin")
        ) as connection:
            connection.execute(OBJECTS.read_text())

    def _start_pooler(self) -> None:
        """Transaction mode; its one connection to the server serves all clients in turn."""
        folder = self.server.folder / "pgbouncer"
        folder.mkdir()
        (folder / "users.txt").write_text(f'"{USER}" ""\n')
        config = folder / "pgbouncer.ini"
        config.write_text(
            "[databases]\n"
            f"{DATABASE} = host={self.server.sockets} port={self.server.port}\n"
            "[pgbouncer]\n"
            "listen_addr = 127.0.0.1\n"
            f"listen_port = {self.pooler_port}\n"
            "unix_socket_dir =\n"
            "auth_type = trust\n"
            f"auth_file = {folder}/users.txt\n"
            "pool_mode = transaction\n"
            # Else it asks of its own whether a connection that rested still lives.
            "server_check_delay = 3600\n"
            "default_pool_size = 1\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, SERVER_ACCOUNT, SERVER_ACCOUNT)
        with (self.server.folder / "pgbouncer.log").open("wb") as log:
            self._pooler = subprocess.Popen(
                [*as_server_account(), "pgbouncer", "-q", str(config)], stdout=log, stderr=log
            )
        self._wait_for_pooler()

    def _wait_for_pooler(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        dsn = psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.pooler_port, user=USER, dbname=DATABASE,
            application_name="admin", sslmode="disable",
        )  # fmt: skip
        while True:
            try:
                psycopg.connect(dsn, prepare_threshold=None).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return
