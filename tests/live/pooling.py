"""pgbouncer before a cluster of ours, in transaction mode: one server connection for each login."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.live.postgres import PostgresCluster, free_port

PGBOUNCER = Path("/usr/sbin/pgbouncer")


@contextmanager
def pooled(cluster: PostgresCluster) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Its port and its process."""
    assert PGBOUNCER.exists(), "./run setup installs pgbouncer"
    folder, port = Path(tempfile.mkdtemp(prefix="pgwarden-pooler-")), free_port()
    folder.chmod(0o755)
    users = folder / "users.txt"
    users.write_text('"app" ""\n"bot" ""\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={cluster.port} dbname=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
        "default_pool_size = 1\nserver_tls_sslmode = disable\n"
    )
    process = subprocess.Popen(
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
         str(PGBOUNCER), "-q", str(config)],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(port)
        yield port, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        shutil.rmtree(folder)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=app dbname=postgres").close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "pgbouncer does not listen"
            time.sleep(0.1)
