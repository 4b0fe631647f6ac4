"""A log of bytes that are no text, rotated under its reader; more news of files than are kept."""

import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading

import pytest

from agent.sources.pgaudit.source import LogFormat, PgauditSource
from tests.agent.sources.test_pgaudit_formats import (
    PREFIX,
    audit_message,
    csv_record,
    json_record,
    stderr_record,
)
from tests.agent.sources.test_pgaudit_tail import append, record, settle
from tests.collector.process import ROOT
from tests.waiting import wait_until

RECORDS, EACH_FILE = 2_000, 50
FILES = 7_000
"""Each is made, closed and removed: more events than a queue of 16,384 holds."""
IN_NONBLOCK, IN_ALL = os.O_NONBLOCK, 0xFFF
IN_Q_OVERFLOW = 0x4000


@pytest.mark.parametrize(
    ("format", "write"),
    [
        (LogFormat.JSONLOG, json_record),
        (LogFormat.CSVLOG, csv_record),
        (LogFormat.STDERR, stderr_record),
    ],
)
def test_bytes_that_are_no_text_come_through_rotations_as_they_were(tmp_path, dice, format, write):
    """Written in pieces that end anywhere: within a character, within a quote."""
    log = tmp_path / "log" / "pg"
    log.parent.mkdir()
    texts = [b"select %d /* " % number + _bytes(dice) + b" */" for number in range(RECORDS)]
    source = PgauditSource("main", log.parent, "pg*", format, tmp_path / "state", PREFIX)

    def rotate():
        for first in range(0, RECORDS, EACH_FILE):
            with log.open("ab", buffering=0) as file:
                part = b"".join(
                    _at(number, write(audit_message(texts[number], number)))
                    for number in range(first, first + EACH_FILE)
                )
                renamed = dice.randrange(len(part))  # the server has not noticed yet
                while part:
                    size = dice.randrange(1, 3000)
                    file.write(part[:size])
                    part, renamed = part[size:], renamed - size
                    if renamed <= 0 and log.exists():
                        log.rename(log.with_name(f"pg.{first}"))
            if log.exists():
                log.rename(log.with_name(f"pg.{first}"))

    writer = threading.Thread(target=rotate)
    writer.start()
    events = []
    while writer.is_alive():
        events += source.poll(0.01)
    events += settle(source, 1.5)
    assert source.losses() == []
    assert sorted(event.text.encode("utf-8", "surrogateescape") for event in events) == sorted(
        texts
    )
    source.close()


def _bytes(dice):
    """As a database in SQL_ASCII or LATIN1 logs them: anything but NUL."""
    some = bytes(dice.choice((*range(32, 127), *range(128, 256))) for _ in range(40))
    return some.replace(b"*/", b"**")


def _at(number, line):
    """With a time of its own, as the server writes it: no two files begin alike."""
    return line.replace(b"13:14:18.702", b"13:14:%02d.%03d" % (number // 1000, number % 1000), 1)


def test_more_news_of_files_than_the_kernel_keeps_hide_no_record(tmp_path):
    log = tmp_path / "log" / "pg.json"
    log.parent.mkdir()
    log.touch()
    said = tmp_path / "said"
    command = [sys.executable, "-m", "tests.faults.log_reader", str(log.parent)]
    with said.open("wb") as out:
        reader = subprocess.Popen([*command, str(tmp_path / "state")], cwd=ROOT, stdout=out)
    try:
        wait_until(lambda: said.read_text() == "ready\n")
        append(log, record(1))
        wait_until(lambda: "\n1\n" in said.read_text())
        reader.send_signal(signal.SIGSTOP)
        beside = _inotify(log.parent)
        for number in range(FILES):
            other = log.with_name(f"other-{number}")
            other.touch()
            other.unlink()
        append(log, record(2))
        log.rename(log.with_name("pg.json.1"))  # of which nobody is told any more
        append(log, record(3))
        assert _overflowed(beside), "the kernel dropped events"
        reader.send_signal(signal.SIGCONT)
        wait_until(lambda: "\n3\n" in said.read_text())
        append(log, record(4))
        log.rename(log.with_name("pg.json.2"))
        append(log, record(5))
        wait_until(lambda: "\n5\n" in said.read_text())
        assert said.read_text() == "ready\n1\n2\n3\n4\n5\n", "each once, and no loss"
    finally:
        reader.kill()
        reader.wait()


def _inotify(folder):
    """A queue like the reader's, that nobody reads."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(IN_NONBLOCK)
    assert descriptor >= 0
    assert libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_ALL) > 0
    return descriptor


def _overflowed(descriptor):
    try:
        while data := os.read(descriptor, 1 << 16):
            at = 0
            while at < len(data):
                _, mask, _, length = struct.unpack_from("iIII", data, at)
                if mask & IN_Q_OVERFLOW:
                    return True
                at += 16 + length
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
