"""What does not fit is counted, and nothing stays behind."""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.probes.kernel import _bpf
from agent.sources.ebpf import EbpfSource
from model.event import ResponseSent, SessionSeen, StatementStarted
from tests.kernel.capture import Capture, singly, starts

pytestmark = [pytest.mark.kernel, pytest.mark.live]
BPF_PROG_GET_FD_BY_ID = 13
PROJECT = Path(__file__).parents[2]


def test_a_full_ring_loses_and_counts_exactly(loader, cluster, postgres):
    with EbpfSource(ring_bytes=1, loader=loader) as source, postgres.connect() as connection:
        source.add(cluster)
        pid = connection.info.backend_pid
        count = 100
        for number in range(count):
            connection.execute(f"SELECT {number}")
        events = singly(source.poll(0))
        arrived = sum(isinstance(e, StatementStarted) and e.backend.pid == pid for e in events)
        lost = {event.reason: event.count for event in source.losses()}
        assert 0 < arrived < count
        assert arrived + lost["execution"] == count
        assert source.losses() == []


def test_bytes_of_a_lost_response_are_reported_with_the_next(loader, cluster, postgres):
    with EbpfSource(ring_bytes=1, loader=loader) as source, postgres.connect() as connection:
        source.add(cluster)
        source.poll(0)
        for _ in range(50):
            connection.execute("SELECT 1", prepare=False)
        events = singly(source.poll(0))
        connection.execute("SELECT 1", prepare=False)
        capture = Capture(source, postgres, events)
        pid = connection.info.backend_pid
        last = capture.round_trips(pid, len(capture.of(pid, ResponseSent)) + 1)
        sent = sum(e.bytes_sent for e in last if isinstance(e, ResponseSent))
        assert sent == 51 * 66


def test_a_text_that_the_ring_cannot_hold_is_cut_and_counted(loader, cluster, postgres):
    with EbpfSource(ring_bytes=4096, loader=loader) as source, postgres.connect() as connection:
        source.add(cluster)
        source.poll(0)
        capture = Capture(source, postgres)
        text = "SELECT 1 --" + "c" * 3000
        (start,) = starts(capture.run(connection, text))
        assert start.text == text[:511].encode()
        assert start.text_bytes == len(text)
        assert [(lost.source, lost.reason, lost.count) for lost in source.losses()] == [
            ("ebpf", "text_cut", 1)
        ]


def test_the_length_of_a_text_is_exact_however_little_of_it_has_room(loader, cluster, postgres):
    with EbpfSource(loader=loader) as source, postgres.connect() as connection:
        source.add(cluster)
        source.poll(0)
        text = f"SELECT length('{'c' * 5_000_000}')"
        for _ in range(8):  # nobody reads meanwhile: the later ones find less and less room
            connection.execute(text)
        found = starts(source.poll(500))
        cut = sum(each.count for each in source.losses() if each.reason == "text_cut")
    assert [each.text_bytes for each in found] == [len(text)] * 8
    assert all(text.encode().startswith(each.text) for each in found)
    assert {len(each.text) for each in found} > {(1 << 20) - 1}
    assert cut == sum(len(each.text) < (1 << 20) - 1 for each in found) > 0


def test_more_sessions_than_the_table_holds_are_counted(loader, cluster, postgres):
    with EbpfSource(loader=loader, sessions=1) as source:
        source.add(cluster)
        with postgres.connect() as one, postgres.connect() as two:
            one.execute("SELECT 1")
            two.execute("SELECT 2")
            events = singly(source.poll(50))
        assert sum(isinstance(event, SessionSeen) for event in events) == 1
        assert any(lost.reason == "table_full" and lost.count > 0 for lost in source.losses())


def test_after_close_no_program_and_no_descriptor_is_left(loader, cluster):
    before = len(os.listdir("/proc/self/fd"))
    source = EbpfSource(loader=loader)
    source.add(cluster)
    (instance,) = source._instances
    programs = {program_id(fd) for fd in instance.loaded.programs.values()}
    assert len(programs) == 6
    assert all(map(loaded, programs))
    source.close()
    assert len(os.listdir("/proc/self/fd")) == before
    # The kernel frees a program a moment after its last user: a probe would be one.
    deadline = time.monotonic() + 5
    while any(map(loaded, programs)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def program_id(fd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("prog_id")).split()[1])


def loaded(program: int) -> bool:
    """Whether any process or probe still holds the program with this id."""
    fd = _bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("<III", program, 0, 0))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def test_the_libbpf_loader_stays_small(compiled_probes, cluster):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "def rss():\n"
        "    return int(Path('/proc/self/statm').read_text().split()[1]) * 4\n"
        "from agent.discovery import cluster_at\n"
        "from agent.sources.ebpf import EbpfSource\n"
        "from agent.probes.loader import open_loader\n"
        "before = rss()\n"
        "source = EbpfSource(loader=open_loader('libbpf'))\n"
        f"source.add(cluster_at({cluster.postmaster_pid}))\n"
        "print(before, rss())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    before_kib, after_kib = map(int, done.stdout.split())
    assert after_kib - before_kib < 20_000
    assert after_kib < 60_000


def test_without_rights_the_reason_and_the_remedy_are_told(compiled_probes, cluster):
    code = (
        "import os\n"
        "from agent.discovery import cluster_at\n"
        "from agent.probes.errors import CaptureUnavailable\n"
        "from agent.sources.ebpf import EbpfSource\n"
        "import agent.probes.libbpf, agent.probes.bcc_loader\n"
        f"cluster = cluster_at({cluster.postmaster_pid})\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        "    EbpfSource().add(cluster)\n"
        "except CaptureUnavailable as refusal:\n"
        "    print(refusal.reason, '|', refusal.remedy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reason, remedy = done.stdout.split("|")
    assert "EPERM" in reason or "ermission" in reason
    assert "CAP_BPF" in remedy or "root" in remedy
