"""Every query of the catalog on PostgreSQL 12 to 18."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from agent.catalog import HostFiles, fingerprint, take_snapshot
from agent.catalog.access_files import AccessFiles
from agent.catalog.items import hba, ident
from agent.catalog.rights import grants, grants_for
from model.catalog import CatalogKind
from tests.conformance.servers import MAJORS, Server, installation
from tests.live.catalog_world import world_for

pytestmark = [pytest.mark.live, pytest.mark.slow]

SECRET = "canary-5ecret"


@pytest.mark.parametrize("major", MAJORS)
def test_every_kind_is_read_with_the_printed_rights(major):
    if not (installation(major) / "bin" / "postgres").exists():
        pytest.skip(f"PostgreSQL {major} is not installed: ./run conformance installs it")
    server = Server(major=major, pgaudit=False, settings={"wal_level": "logical"})
    with server:
        with server.connect() as admin:
            admin.execute("CREATE DATABASE shop")
        with server.connect(dbname="shop") as admin:
            for statement in [*world_for(major), *grants("pgwarden", major)]:
                admin.execute(statement)
            for statement in grants_for(("subscriptions", "user_mappings"), "pgwarden", major):
                admin.execute(statement)
        host = HostFiles(Path("/"), server.data)
        with server.connect(dbname="shop", user="pgwarden") as connection:
            first, second = (
                take_snapshot(connection, "x", files=host, function_bodies=bodies)
                for bodies in (False, False)
            )
        with server.connect(dbname="shop", user="postgres") as connection:
            whole = take_snapshot(connection, "x", files=host)
        assert first.problems == ()
        assert set(first.kinds) == set(CatalogKind) - {CatalogKind.WATCHED}
        assert {item.kind for item in first.items} >= set(first.kinds) - {CatalogKind.IDENT}
        assert fingerprint(first) == fingerprint(second) == fingerprint(whole)
        assert SECRET not in repr(first)
        _files_say_the_same(server, host, first)


def _files_say_the_same(server, host, snapshot):
    """Our own reading of the rules agrees with the server's."""
    own = AccessFiles(host, server.major)
    data = str(server.data)
    for kind, items in (
        ("hba", hba(own.hba(f"{data}/pg_hba.conf"))),
        ("ident", ident(own.ident(f"{data}/pg_ident.conf"))),
    ):
        seen = {(item.name, item.value) for item in snapshot.items if item.kind == kind}
        assert seen == {(item.name, item.value) for item in items}


def test_every_text_of_a_query_names_a_version_that_is_supported():
    names = [each.name for each in files("agent.catalog.queries").iterdir()]
    for name in names:
        if name.endswith(".sql"):
            assert int(name.removesuffix(".sql").rpartition("_")[2]) in MAJORS
