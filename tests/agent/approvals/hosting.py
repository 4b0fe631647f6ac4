"""A desk on a folder, with a catalog and transactions as a test says."""

import itertools

from agent.approvals.desk import Desk
from agent.approvals.eyes import Eyes
from agent.approvals.known import Request
from agent.approvals.store import ApprovalStore
from agent.probes.layout import Part
from model.approval import Bound, Grant, Moment, Term
from model.session import BackendKey, Session

HOUR = 3_600_000_000
NOW = Moment(1_790_000_000_000_000, 50 * HOUR, "boot")
BOUND = Bound("h", "main", "shop", "app", "", "ab" * 32)
MESSAGES = itertools.count(100)
SESSION = Session(BackendKey(7, 1), cluster="main", user="app", database="shop")


def grant(uses=1, **fields):
    values = {"id": "g1", "relations": ("shop.orders",), "functions": ()}
    return Grant(
        request=BOUND.code, bound=BOUND, uses=uses, term=Term.begin(NOW, HOUR), **values | fields
    )


class Host:
    """One agent's desk on a folder; ``again`` is what a new process finds there."""

    def __init__(self, folder, fingerprint="f1"):
        self.folder = folder
        self.fingerprint = fingerprint
        self.now = NOW
        self.session = SESSION
        self.looks = 0
        self.open = []
        self.steps = []
        self.store = ApprovalStore(folder / "approvals.db")
        self.desk = Desk(
            self.store,
            Eyes(lambda grant: self.look(), lambda grant: list(self.open), int),
            lambda backend: self.session,
            self.steps.append,
            now=lambda: self.now,
        )

    def look(self):
        self.looks += 1
        if isinstance(self.fingerprint, OSError):
            raise self.fingerprint
        return self.fingerprint

    def again(self):
        self.store.close()
        return Host(self.folder, self.fingerprint)

    def work(self):
        """One turn of its thread."""
        self.desk._write_notes()
        self.desk._check()
        self.desk._tell()

    def use(self, bound=BOUND, message=None, part=Part.NONE):
        request = Request(SESSION.key, message or next(MESSAGES), part)
        return self.desk.use(bound, request, SESSION, "rule")
