"""A ring buffer as the kernel lays it out, in a file of memory."""

import mmap
import os
import random
import subprocess
import sys

import pytest

from agent.probes.ring import BUSY, DISCARDED, HEADER, HEADER_BYTES, PAGE, POSITION, Ring

SIZE = 2 * PAGE
KERNEL = """
import mmap, sys
place = memoryview(mmap.mmap(int(sys.argv[1]), mmap.PAGESIZE)).cast("Q")
print("ready", flush=True)
last = backwards = 0
while last < int(sys.argv[2]):
    at = place[0]
    backwards += at < last
    last = max(last, at)
print(backwards)
"""
"""What a backend on another processor sees of the reader's place: how often it lay further back."""


class Kernel:
    """Writes records as bpf_ringbuf_submit does; the data lies twice in a row, as it does there."""

    def __init__(self):
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.memory = mmap.mmap(self.fd, 0)
        self.at = 0

    @property
    def room(self):
        return SIZE - (self.at - POSITION.unpack_from(self.memory, 0)[0])

    def submit(self, record, mark=0):
        framed = HEADER.pack(len(record) | mark).ljust(HEADER_BYTES, b"\0") + record
        framed += bytes(-len(framed) % 8)
        assert len(framed) <= self.room
        for place, byte in enumerate(framed, self.at):
            for copy in (0, SIZE):
                self.memory[2 * PAGE + place % SIZE + copy] = byte
        self.at += len(framed)
        POSITION.pack_into(self.memory, PAGE, self.at)


@pytest.fixture
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.memory.close()
    os.close(kernel.fd)


@pytest.fixture
def ring(kernel):
    ring = Ring(kernel.fd, SIZE)
    yield ring
    ring.close()


def test_records_that_go_on_at_the_beginning_come_whole(kernel, ring):
    dice = random.Random(1)
    for number in range(400):
        sent = [dice.randbytes(dice.randrange(1, 900)) for _ in range(dice.randrange(1, 8))]
        for record in sent:
            kernel.submit(record)
        assert ring.drain() == sent, number
        assert ring.at == ring.end == kernel.at


@pytest.mark.parametrize("left", [8, 16, 24])
def test_a_record_whose_head_alone_has_room_at_the_end_comes_whole(kernel, ring, left):
    kernel.submit(bytes(SIZE - left - HEADER_BYTES))
    ring.drain()
    kernel.submit(b"the next one", 0)
    assert ring.drain() == [b"the next one"]


def test_what_was_discarded_is_passed_over_and_what_is_being_written_is_waited_for(kernel, ring):
    kernel.submit(b"first")
    kernel.submit(b"no", DISCARDED)
    busy = kernel.at
    kernel.submit(b"second", BUSY)
    kernel.submit(b"third")
    assert (ring.drain(), ring.stalled, ring.unread) == ([b"first"], True, True)
    HEADER.pack_into(kernel.memory, 2 * PAGE + busy, len(b"second"))
    assert (ring.drain(), ring.stalled, ring.unread) == ([b"second", b"third"], False, False)


def test_no_more_are_taken_than_asked_for(kernel, ring):
    for record in (b"a", b"b", b"c"):
        kernel.submit(record)
    assert (ring.drain(2), ring.unread) == ([b"a", b"b"], True)
    assert (ring.drain(2), ring.unread) == ([b"c"], False)


def test_the_kernel_never_sees_the_reader_further_back_than_it_was(kernel, ring):
    last = SIZE
    watching = subprocess.Popen(
        [sys.executable, "-c", KERNEL, str(kernel.fd), str(last)],
        pass_fds=(kernel.fd,), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with watching:
        assert watching.stdout.readline() == "ready\n"
        kernel.submit(bytes(SIZE // 2))
        for _ in range(500_000):
            ring.drain()
        kernel.submit(bytes(SIZE // 2))
        ring.drain()
        assert ring.at >= last
        assert watching.stdout.readline() == "0\n"
