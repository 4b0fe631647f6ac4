"""Certificates as ``pgwarden pki`` makes them, and a collector that demands them, for tests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cli.pki.authority import Authority
from collector.access.door import Door, own_certificate
from collector.access.tokens import Tokens
from collector.commands import Agents
from collector.operator_service import OperatorService, Tails
from collector.server import Server
from collector.service import UplinkService
from collector.sessions import LiveSessions
from collector.store import Store
from model.certified import Certified, Role
from tests.collector.certificates import Files

WEEK = timedelta(days=7)


class Pki:
    """An authority in ``folder``/pki; what it issues is copied, as to another host."""

    def __init__(self, folder: Path, name: str = "pgwarden") -> None:
        self._folder = folder
        self.folder = folder / "pki"
        Authority.create(self.folder, name, timedelta(days=3650), now() - timedelta(days=30))
        self.crl = folder / "crl.pem"
        shutil.copy(self.folder / "crl.pem", self.crl)
        self._copies = 0

    def issue(self, role: Role, name: str, lifetime: timedelta = WEEK, at: datetime | None = None):
        """``at``: as if it were issued then."""
        hosts = [name, "localhost", "127.0.0.1"] if role is Role.COLLECTOR else []
        with Authority.opened(self.folder) as authority:
            issued = authority.issue(Certified(role, name), hosts, lifetime, at or now())
            return self._taken_from(authority.home(issued.who))

    def agent(self, name: str = "host-a", **how) -> Files:
        return self.issue(Role.AGENT, name, **how)

    def rotate(self, name: str, onto: Files) -> None:
        """Key first, as a person would copy them."""
        with Authority.opened(self.folder) as authority:
            older = [each for each in authority.issued() if each.who.name == name][-1]
            authority.rotate(older, now())
            home = authority.home(older.who)
        shutil.copy(home / "key.pem", onto.key)
        shutil.copy(home / "cert.pem", onto.certificate)

    def revoke(self, name: str) -> None:
        with Authority.opened(self.folder) as authority:
            which = [each for each in authority.issued() if each.who.name == name]
            self.crl.write_bytes(authority.revoke(which, now()))

    def _taken_from(self, home: Path) -> Files:
        self._copies += 1
        to = self._folder / f"host-{self._copies}"
        shutil.copytree(home, to)
        return Files(to / "cert.pem", to / "key.pem", to / "ca.pem", self.crl)


@dataclass
class Guarded:
    address: str
    store: Store
    server: Server

    def counts(self) -> tuple[int, int]:
        """Rows, and different ones."""
        (row,) = self.store.query("SELECT count(*), count(DISTINCT id) FROM statements")
        return row


@contextmanager
def guarded_collector(folder: Path, files: Files) -> Iterator[Guarded]:
    store = Store(folder / "data", commit_seconds=0.05)
    agents = Agents()
    uplink = UplinkService(store.segments, agents, folder / "quarantine")
    operator = OperatorService(
        agents,
        LiveSessions(),
        Tails(),
        door=Door(own_certificate(files.certificate), Tokens(folder / "data")),
    )
    server = Server(["127.0.0.1:0"], uplink, operator, files)
    store.start()
    server.start()
    try:
        yield Guarded(server.addresses[0], store, server)
    finally:
        server.stop(0.2)
        store.close()


def now() -> datetime:
    return datetime.now(UTC)
