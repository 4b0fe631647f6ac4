"""The mount with the file of heads outside hangs, as NFS does whose server is away."""

import os
import shutil
import subprocess
import threading
import time

import pytest

from collector import heads_outside
from collector.heads import Sealing
from collector.pgwarden_verify import check_folder
from collector.store import Store
from tests.waiting import wait_until

STOP_SECONDS = 5.0


@pytest.fixture
def mount(tmp_path):
    """A file system that can be frozen."""
    image, folder = tmp_path / "image", tmp_path / "mount"
    folder.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), folder]):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount, and ext4")
    yield folder
    subprocess.run(["fsfreeze", "-u", str(folder)], capture_output=True)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def lose(store, count):
    row = {"occurred_at": 1_790_000_000_000_000, "source": "x", "reason": "y", "count": count}
    store.append("losses", [row])
    assert store.segments.flush()


def opened(tmp_path, outside):
    sealing = Sealing(outside=outside, entries=1, seconds=0.05)
    store = Store(tmp_path / "data", commit_seconds=0.01, sealing=sealing)
    store.start()
    return store


def test_heads_are_signed_and_the_collector_ends_while_the_file_outside_hangs(
    tmp_path, mount, monkeypatch
):
    monkeypatch.setattr(heads_outside, "STUCK_SECONDS", 0.2)
    outside = mount / "heads"
    store = opened(tmp_path, outside)
    lose(store, 1)
    assert store.heads.told_outside(10)
    subprocess.run(["fsfreeze", "-f", str(mount)], check=True)
    for count in range(2, 5):
        lose(store, count)
    wait_until(lambda: store.heads.signed == store.ledger.state, what="signed all the same")
    wait_until(lambda: store.heads.failures, what="counted")
    began = time.monotonic()
    store.close()
    assert time.monotonic() - began < STOP_SECONDS
    subprocess.run(["fsfreeze", "-u", str(mount)], check=True)
    wait_until(lambda: not store.heads._outside._thread.is_alive())
    assert check_folder(tmp_path / "data", outside).problems == []
    store = opened(tmp_path, outside)
    assert store.heads.told_outside(10), "what was not told is, at the next start"
    store.close()
    assert outside.read_bytes() == (tmp_path / "data/heads.jsonl").read_bytes()


def test_a_start_does_not_wait_for_it_and_hears_later_that_it_knows_more(tmp_path, monkeypatch):
    data, outside, kept = tmp_path / "data", tmp_path / "outside", tmp_path / "kept"
    store = opened(tmp_path, outside)
    shutil.copytree(data, kept)
    lose(store, 1)
    store.close()
    shutil.rmtree(data)
    kept.rename(data)
    answers, read = threading.Event(), heads_outside.last_line
    monkeypatch.setattr(heads_outside, "last_line", lambda file: answers.wait() and read(file))
    store = opened(tmp_path, outside)
    assert store.contradictions == []
    answers.set()
    wait_until(lambda: store.contradictions, what="an older copy of everything")
    assert "heads that heads.jsonl does not have" in store.contradictions[0]
    store.close()
    assert '"kind":"ledger_contradicted"' in (data / "ledger.jsonl").read_text()
