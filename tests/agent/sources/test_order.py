"""Records of one backend leave in their order, whichever ring each came through."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from agent.probes.layout import STATEMENT, RecordKind
from agent.sources.order import Order, at_ns

BULK, URGENT = 0, 1


def record(pid, at, held=False):
    return STATEMENT.pack(RecordKind.STATEMENT, pid, at, 0, 0, b"", b"", *[0] * 9, held, *[0] * 8)


def of(pid, records):
    return [at_ns(one) for one in records if int.from_bytes(one[4:8], "little") == pid]


@dataclass
class FakeRing:
    """A place is taken first and written later; who reads stops at one that is not written yet."""

    places: list[bytes | None] = field(default_factory=list)
    at: int = 0

    def reserve(self):
        self.places.append(None)
        return len(self.places) - 1

    @property
    def end(self):
        return len(self.places)

    def drain(self, limit):
        taken = []
        while self.at < self.end and len(taken) < limit and self.places[self.at] is not None:
            taken.append(self.places[self.at])
            self.at += 1
        return taken


@dataclass
class FakeBackend:
    """Makes one record after the other, each in three steps that others may come between."""

    pid: int
    ring: FakeRing | None = None
    place: int = 0
    data: bytes = b""

    def step(self, rings, which, now):
        """True when this step gave a record its time."""
        if self.ring is None:
            self.ring = rings[which]
            self.place = self.ring.reserve()
        elif not self.data:
            self.data = record(self.pid, now)
            return True
        else:
            self.ring.places[self.place] = self.data
            self.ring, self.data = None, b""
        return False


def drain(order, rings, limit, between=lambda: None):
    order.mark(drain.now, lambda: (rings[BULK].end, rings[URGENT].end))
    bulk = rings[BULK].drain(limit)
    between()
    urgent = rings[URGENT].drain(limit)
    order.add(
        bulk,
        urgent,
        (rings[BULK].at, rings[URGENT].at),
        urgent_unread=rings[URGENT].at < rings[URGENT].end,
    )
    return order.take(1000)


STEP = st.tuples(st.integers(0, 2), st.sampled_from((BULK, URGENT)))
"""Which backend goes on, and through which ring if it begins a record."""
DRAIN = st.tuples(st.integers(1, 5), st.lists(STEP, max_size=6))
"""How many records at most, and what happens between the two rings."""


@given(st.lists(STEP | DRAIN.map(lambda one: ("drain", *one)), max_size=120))
def test_each_backends_records_come_out_in_order_whatever_the_split_and_the_time_of_draining(
    script,
):
    order, rings = Order(), (FakeRing(), FakeRing())
    backends = [FakeBackend(pid) for pid in range(3)]
    told, made, out = 0, [], []

    def go(step):
        nonlocal told
        told += 1
        drain.now = told
        if backends[step[0]].step(rings, step[1], told):
            made.append(backends[step[0]].data)

    drain.now = 0
    for step in script:
        if step[0] == "drain":
            out += drain(order, rings, step[1], lambda steps=step[2]: [go(one) for one in steps])
        else:
            go(step)
    for backend in backends:
        while backend.ring is not None:
            go((backend.pid, BULK))
    drain.now = told + 1
    for _ in range(2):  # an older moment may still have to pass
        out += drain(order, rings, 1000)
    assert not order.early
    assert not order.ready
    for backend in backends:
        assert of(backend.pid, out) == of(backend.pid, made)


def test_what_was_begun_before_but_is_not_finished_holds_back_what_is_urgent_behind_it():
    order = Order()
    order.mark(10, lambda: (2, 1))
    order.add([record(1, 1)], [record(2, 6)], (1, 1), urgent_unread=False)
    assert of(2, order.take(10)) == []
    assert order.early
    order.add([record(2, 5)], [], (2, 1), urgent_unread=False)
    assert of(2, order.take(10)) == [5, 6]


def test_a_bulk_record_does_not_overtake_an_urgent_one_that_waits():
    order = Order()
    order.mark(1, lambda: (0, 0))
    order.add([record(1, 3)], [record(1, 2)], (1, 1), urgent_unread=False)
    assert order.take(10) == []
    order.mark(5, lambda: (1, 1))
    order.add([], [], (1, 1), urgent_unread=False)
    assert of(1, order.take(10)) == [2, 3]


def test_a_held_backends_records_come_by_themselves_before_everybody_elses():
    order = Order()
    order.mark(0, lambda: (0, 0))
    order.add([record(1, at) for at in range(1, 100)], [], (99, 0), urgent_unread=False)
    order.mark(300, lambda: (100, 1))
    order.add([record(2, 200)], [record(2, 201, held=True)], (100, 1), urgent_unread=False)
    assert of(2, order.take(10)) == [200, 201]
    assert order.ready
    assert of(1, order.take(10)) == list(range(1, 11))


def test_without_anything_urgent_nothing_waits():
    order = Order()
    order.mark(1, lambda: (0, 0))
    order.add([record(1, 5)], [], (1, 0), urgent_unread=False)
    assert of(1, order.take(10)) == [5]


def test_a_bulk_record_waits_while_the_urgent_ring_hides_what_may_come_before_it():
    order = Order()
    order.mark(1, lambda: (0, 0))
    order.add([record(1, 5)], [], (1, 0), urgent_unread=True)
    assert order.take(10) == []


def test_at_the_end_everything_comes_in_order():
    order = Order()
    order.mark(1, lambda: (9, 9))
    order.add([record(1, 5)], [record(1, 4)], (1, 1), urgent_unread=False)
    assert of(1, order.flush()) == [4, 5]
    assert order.flush() == []
