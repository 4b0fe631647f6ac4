"""Files of a server's configuration are edited on disk, and nothing on the wire tells of it.

The interval is so long that only the notification can be what told.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.catalog import SnapshotWatcher, take_snapshot
from agent.catalog.file_news import FileNews
from agent.catalog.host_files import HostFiles
from agent.catalog.touched import SETTINGS
from cli.demo.cluster import SERVER_ACCOUNT
from model.catalog import CatalogItem, CatalogKind, Snapshot
from tests.live.postgres import PostgresCluster, server_folder

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not server_folder().exists(), reason="./run setup installs PostgreSQL"),
]
INTERVAL_SECONDS = 600.0
SOON_SECONDS = 15.0
"""Of a busy machine; the interval is far longer."""


class Edited:
    def __init__(self, cluster: PostgresCluster) -> None:
        self.cluster = cluster
        self.sent: list[Snapshot] = []
        self.come = threading.Condition()
        self.pokes = 0
        self.watcher: SnapshotWatcher

    def send(self, snapshot: Snapshot) -> None:
        with self.come:
            self.sent.append(snapshot)
            self.come.notify_all()

    def append(self, path: Path, text: str) -> None:
        with path.open("a") as file:
            file.write(text)

    def replace(self, path: Path, text: str) -> None:
        """As editors do: another file takes the name."""
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        if os.geteuid() == 0:
            shutil.chown(fresh, SERVER_ACCOUNT, SERVER_ACCOUNT)
        fresh.replace(path)

    def wait_for(self, kind: CatalogKind, name: str) -> CatalogItem:
        began = time.monotonic()

        def found() -> CatalogItem | None:
            changes = (each for snapshot in self.sent for each in snapshot.items)
            return next((each for each in changes if (each.kind, each.name) == (kind, name)), None)

        with self.come:
            assert self.come.wait_for(found, SOON_SECONDS), f"{kind} {name} was not told"
            print(f"{kind} {name}: {time.monotonic() - began:.2f} s")
            item = found()
            assert item is not None
            return item

    def forget(self) -> None:
        with self.come:
            del self.sent[:]


@contextmanager
def watched(cluster: PostgresCluster) -> Iterator[Edited]:
    edited = Edited(cluster)

    def poke() -> None:
        edited.pokes += 1
        watcher.poke(SETTINGS)

    news = FileNews(HostFiles(Path("/"), cluster.data), poke)
    watcher = SnapshotWatcher(
        lambda database: cluster.connect(
            dbname=database or "postgres", application_name="pgwarden"
        ),
        "main",
        edited.send,
        INTERVAL_SECONDS,
        take=lambda *words, **more: take_snapshot(
            *words, files=HostFiles(Path("/"), cluster.data), **more
        ),
        at_home=news.follow,
    )
    thread = threading.Thread(target=watcher.run, daemon=True)
    thread.start()
    try:
        with edited.come:
            assert edited.come.wait_for(lambda: edited.pokes, SOON_SECONDS)
        # The looks that follow the first notification are over.
        time.sleep(8)
        assert watcher.problems == ()
        assert news.problem == ""
        edited.forget()
        edited.watcher = watcher
        yield edited
    finally:
        watcher.stop()
        news.close()
        thread.join(10)


@pytest.fixture(scope="module")
def edited() -> Iterator[Edited]:
    with PostgresCluster(pgaudit=False) as cluster:
        folder = cluster.data / "conf.d"
        folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder, SERVER_ACCOUNT, SERVER_ACCOUNT)
        with (cluster.data / "postgresql.conf").open("a") as file:
            file.write("\ninclude_dir 'conf.d'\n")
        with watched(cluster) as edited:
            yield edited


def test_a_rule_that_an_editor_put_into_pg_hba_conf_is_told_at_once(edited):
    path = edited.cluster.data / "pg_hba.conf"
    edited.replace(path, f"host all mallory 10.9.8.7/32 trust\n{path.read_text()}")
    item = edited.wait_for(CatalogKind.HBA, "host all mallory 10.9.8.7/255.255.255.255")
    assert item.value == "trust"


def test_a_line_of_postgresql_conf_is_told_once_the_server_was_signalled(edited):
    edited.append(edited.cluster.data / "postgresql.conf", "log_connections = on\n")
    edited.cluster.reload()
    item = edited.wait_for(CatalogKind.SETTING, "log_connections")
    assert item.value == "on"
    assert "postgresql.conf" in item.detail


def test_a_new_file_in_an_included_folder_is_told(edited):
    edited.append(edited.cluster.data / "conf.d" / "50-ours.conf", "work_mem = '9MB'\n")
    edited.cluster.reload()
    assert "50-ours.conf" in edited.wait_for(CatalogKind.SETTING, "work_mem").detail


def test_the_file_of_alter_system_is_watched_too(edited):
    edited.append(edited.cluster.data / "postgresql.auto.conf", "log_statement = 'none'\n")
    edited.cluster.reload()
    item = edited.wait_for(CatalogKind.SETTING, "log_statement")
    assert "postgresql.auto.conf" in item.detail


def test_a_map_of_pg_ident_conf_is_told(edited):
    edited.append(edited.cluster.data / "pg_ident.conf", "ours eve postgres\n")
    assert edited.wait_for(CatalogKind.IDENT, "ours eve postgres").value == "allowed"


def test_a_signal_that_comes_long_after_the_edit_is_noticed_by_what_the_server_reads(edited):
    edited.append(edited.cluster.data / "postgresql.conf", "log_lock_waits = on\n")
    time.sleep(9)
    assert not any(each.name == "log_lock_waits" for s in edited.sent for each in s.items)
    edited.cluster.reload()
    assert edited.wait_for(CatalogKind.SETTING, "log_lock_waits").value == "on"


def test_looking_at_the_files_is_no_news_of_them(edited):
    time.sleep(9)
    before, looks = edited.pokes, edited.watcher.taken
    edited.watcher.poke()
    with edited.cluster.connect() as connection:
        connection.execute("SELECT count(*) FROM pg_hba_file_rules")
        connection.execute("SELECT count(*) FROM pg_file_settings")
        connection.execute("CHECKPOINT")
    time.sleep(9)
    assert edited.watcher.taken > looks
    assert edited.pokes == before


def test_without_inotify_the_interval_goes_on_and_it_is_said(edited, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", refused)
    news = FileNews(HostFiles(Path("/"), edited.cluster.data), lambda: None)
    with edited.cluster.connect() as connection:
        news.follow(connection)
    news.close()
    assert news.problem == (
        "changes of its configuration files are noticed by the interval alone"
        " (inotify watch limit reached)"
    )


def test_a_connection_that_is_gone_is_no_reason_to_stop_listening(edited):
    news = FileNews(HostFiles(Path("/"), edited.cluster.data), lambda: None)
    with edited.cluster.connect() as connection:
        pass
    news.follow(connection)
    assert news.problem == ""
    news.close()


def test_a_flood_of_other_files_ends_the_listening_and_is_said(edited, monkeypatch):
    monkeypatch.setattr("agent.catalog.file_events.MOST_EVENTS", 50)
    news = FileNews(HostFiles(Path("/"), edited.cluster.data), lambda: None)
    with edited.cluster.connect() as connection:
        news.follow(connection)
        for number in range(60):
            (edited.cluster.data / f"other{number}").write_text("")
        deadline = time.monotonic() + SOON_SECONDS
        while not news.problem and time.monotonic() < deadline:
            time.sleep(0.2)
            news.follow(connection)
    news.close()
    assert "too much happens in their folders" in news.problem
