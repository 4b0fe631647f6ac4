"""What the kernel puts on a stack before it calls a handler, read and changed from outside."""

import ctypes
import os
import struct

from agent.guard.signal_frame import CONTEXT, NAMES, RESTORERS, find_frame

ENTRY, ELSEWHERE = 0x5555_0000_1000, 0x5555_0000_2000
FRAME_BYTES = 1024


class Stack:
    """In our own memory: frames on top of each other, the last one first."""

    def __init__(self, *interrupted: int, restorer: bytes = RESTORERS[0]) -> None:
        """``interrupted``: where each frame leads back to."""
        self._code = ctypes.create_string_buffer(restorer + b"\xcc" * 16)
        self._memory = ctypes.create_string_buffer(FRAME_BYTES * (len(interrupted) + 1))
        self.pointer = ctypes.addressof(self._memory)
        for number, place in enumerate(interrupted):
            start = number * FRAME_BYTES
            saved = dict.fromkeys(NAMES, 7) | {
                "rip": place,
                "rsp": self.pointer + start + FRAME_BYTES,
            }
            struct.pack_into("<Q", self._memory, start, ctypes.addressof(self._code))
            struct.pack_into("<18Q", self._memory, start + CONTEXT, *saved.values())

    def find(self):
        return find_frame(os.getpid(), self.pointer, lambda place: place == ENTRY)


def test_a_handlers_frame_tells_where_it_returns_to_and_with_what():
    for restorer in RESTORERS:
        frame = Stack(ENTRY, restorer=restorer).find()
        assert (frame.registers.rip, frame.registers.rbx) == (ENTRY, 7)


def test_of_signals_that_came_together_the_first_ones_frame_counts():
    stack = Stack(ELSEWHERE, ELSEWHERE, ENTRY)
    assert stack.find().address == stack.pointer + 2 * FRAME_BYTES + CONTEXT


def test_a_handler_that_returns_elsewhere_is_none_of_ours():
    assert Stack(ELSEWHERE).find() is None


def test_what_is_no_frame_is_none():
    assert Stack(ENTRY, restorer=b"\x90" * 9).find() is None
    assert Stack().find() is None


def test_what_is_written_is_what_the_handler_returns_with():
    stack = Stack(ENTRY)
    frame = stack.find()
    frame.registers.rip = ELSEWHERE
    frame.registers.rdi = 1
    frame.write(os.getpid())
    assert stack.find() is None
    again = find_frame(os.getpid(), stack.pointer, lambda place: place == ELSEWHERE)
    assert (again.registers.rdi, again.registers.rbx) == (1, 7)
