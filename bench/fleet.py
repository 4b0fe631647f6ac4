"""Many agents at one collector: real gRPC, mutual TLS with a certificate each, a real collector.

Agents are played: each sends what it would have spooled in a flush, the next one when its time has
come, and waits for acknowledgements as an uplink does. An event's way ends when it is acknowledged:
it is durable, sealed and visible to the next query then, which is tried. The clock starts with the
oldest event of a flush.

Who used the processors while events came is told apart (``*_cores``): the collector, the played
agents of this process, and whatever else this machine did. Where they are all busy, an event waits
for them and not for the collector alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from agent.channel import OPTIONS, grpc
from agent.recorder import FLUSH_SECONDS
from agent.wire.batch import to_wire
from bench.flood import EPOCH, PATH
from bench.flood import NAME as FLOOD
from bench.rounds import Figures
from cli.pki.authority import Authority
from collector.pgwarden_verify import check_folder
from collector.views import open_views
from model.certified import Certified, Role
from protos.pgwarden.v1 import uplink_pb2 as pb
from protos.versions import OLDEST

WINDOW_BATCHES = 64
READY_SECONDS = 60.0
DRAIN_SECONDS = 60.0


@dataclass
class Played:
    """One agent."""

    name: str
    bodies: list[bytes]
    rows: int
    """Of each."""
    sent: int = 0
    acknowledged: int = 0
    began: dict[int, float] = field(default_factory=dict)
    """When the oldest event of a batch happened, by sequence."""
    latencies: list[float] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, channel: grpc.aio.Channel, offset: float, until: float) -> None:
        connect = channel.stream_stream(PATH, lambda data: data, pb.CollectorMessage.FromString)
        call = connect(self._messages(offset, until))
        async for message in call:
            if message.WhichOneof("message") != "ack":
                continue
            now = time.monotonic()
            for sequence in range(self.acknowledged + 1, message.ack.sequence + 1):
                self.latencies.append(now - self.began.pop(sequence))
            self.acknowledged = max(self.acknowledged, message.ack.sequence)
            self.moved.set()

    async def _messages(self, offset: float, until: float) -> AsyncIterator[bytes]:
        hello = pb.Hello(
            agent=self.name, epoch=EPOCH, version="bench", host=self.name, oldest_protocol=OLDEST
        )
        yield pb.AgentMessage(hello=hello).SerializeToString()
        due = time.monotonic() + offset
        while due < until:
            await asyncio.sleep(due + FLUSH_SECONDS - time.monotonic())
            while self.sent - self.acknowledged >= WINDOW_BATCHES:
                await self._move()
            self.sent += 1
            self.began[self.sent] = due
            yield to_wire(self.bodies[self.sent % len(self.bodies)], EPOCH, self.sent)
            due += FLUSH_SECONDS
        while self.acknowledged < self.sent:
            await self._move()

    async def _move(self) -> None:
        self.moved.clear()
        await asyncio.wait_for(self.moved.wait(), DRAIN_SECONDS)


@dataclass(frozen=True)
class Spent:
    """Processor seconds so far, and when."""

    at: float
    collector: float
    clients: float
    machine: float

    @staticmethod
    def until_now(collector: int) -> Spent:
        ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        idle = ticks[3] + ticks[4]
        machine = (sum(ticks[:8]) - idle) / _TICKS
        return Spent(time.monotonic(), _cpu_seconds(collector), time.process_time(), machine)

    def cores_since(self, before: Spent) -> Figures:
        seconds = self.at - before.at
        collector, clients = self.collector - before.collector, self.clients - before.clients
        others = self.machine - before.machine - collector - clients
        return {
            "collector_cores": collector / seconds,
            "clients_cores": clients / seconds,
            "others_cores": max(0.0, others) / seconds,
        }


def play(
    bodies: list[bytes], rows: int, agents: int, seconds: float, flood: bytes = b""
) -> Figures:
    """``bodies``: of batches of so many ``rows``; each agent sends one in a flush. ``flood``: of
    the batches of one more agent (``flood.py``)."""
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        folder = Path(name)
        address = f"127.0.0.1:{_free_port()}"
        collector = _collector(folder, address, agents)
        try:
            began = time.monotonic()
            played = [Played(_name(number), bodies, rows) for number in range(agents)]
            with _flooding(folder, address, flood):
                fleet = _fleet(folder, address, played, seconds, collector.pid)
                before, after = asyncio.run(fleet)
            visible, flooded = _visible(folder / "data")
            cpu_seconds, rss_mb = _cpu_seconds(collector.pid), _peak_mb(collector.pid)
        except TimeoutError as error:
            how = f"it ended with {collector.poll()}" if collector.poll() is not None else "it runs"
            raise SystemExit(
                f"the agents were not served in time by the collector: {how}"
            ) from error
        finally:
            collector.terminate()
            collector.wait(30)
        sent = sum(each.sent * each.rows for each in played)
        if visible != sent:
            raise SystemExit(f"{sent} events were acknowledged, {visible} are visible")
        if problems := check_folder(folder / "data").problems:
            raise SystemExit(f"the ledger does not verify: {problems}")
    slowest = [statistics.quantiles(each.latencies, n=100)[-1] for each in played]
    latencies = [latency for each in played for latency in each.latencies]
    return {
        "agents": agents,
        "events_per_second": sent / seconds,
        "connected_after_seconds": before.at - began,
        **after.cores_since(before),
        "cpu_us_per_event": cpu_seconds / sent * 1e6,
        "end_to_end_p50_seconds": statistics.median(latencies),
        "end_to_end_p99_seconds": statistics.quantiles(latencies, n=100)[-1],
        "slowest_agent_p99_seconds": max(slowest),
        "flood_events_per_second": flooded / seconds,
        "rss_mb": rss_mb,
    }


async def _fleet(
    folder: Path, address: str, played: list[Played], seconds: float, collector: int
) -> tuple[Spent, Spent]:
    """What was spent before events came, and when the last was acknowledged."""
    channels = []
    for each in played:
        home = folder / each.name
        parts = [(home / part).read_bytes() for part in ("ca.pem", "key.pem", "cert.pem")]
        credentials = grpc.ssl_channel_credentials(*parts)
        channels.append(grpc.aio.secure_channel(address, credentials, OPTIONS))
    ready = asyncio.gather(*(channel.channel_ready() for channel in channels))
    await asyncio.wait_for(ready, READY_SECONDS)
    before = Spent.until_now(collector)
    until = time.monotonic() + seconds
    offsets = [FLUSH_SECONDS * number / len(played) for number in range(len(played))]
    await asyncio.gather(
        *(
            each.run(channel, offset, until)
            for each, channel, offset in zip(played, channels, offsets, strict=True)
        )
    )
    after = Spent.until_now(collector)
    for channel in channels:
        await channel.close()
    return before, after


def _collector(folder: Path, address: str, agents: int) -> subprocess.Popen[bytes]:
    pki, now, week = folder / "pki", datetime.now(UTC), timedelta(days=7)
    Authority.create(pki, "bench", timedelta(days=30), now - timedelta(hours=1))
    with Authority.opened(pki) as authority:
        hosts = ["localhost", "127.0.0.1"]
        own = authority.issue(Certified(Role.COLLECTOR, "collector"), hosts, week, now)
        home = authority.home(own.who)
        for name in (*map(_name, range(agents)), FLOOD):
            issued = authority.issue(Certified(Role.AGENT, name), [], week, now)
            (folder / name).symlink_to(authority.home(issued.who))
    tls = {"certificate": home / "cert.pem", "key": home / "key.pem", "ca": home / "ca.pem"}
    settings = {
        "data_dir": str(folder / "data"),
        "listen": [address],
        "tls": {name: str(path) for name, path in tls.items()},
        "metrics": {"port": 0},
    }
    config = folder / "pgwarden.yaml"
    config.write_text(yaml.safe_dump({"collector": settings}))
    command = [sys.executable, "-m", "collector", "--config", str(config)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stderr=log)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _visible(data_dir: Path) -> tuple[int, int]:
    """Events of the played agents, and of the one that floods."""
    sql = "SELECT count(*) FILTER (agent <> $1), count(*) FILTER (agent = $1) FROM statements"
    with open_views(data_dir) as views:
        ((played, flooded),) = views.execute(sql, [FLOOD]).fetchall()
    return int(played), int(flooded)


@contextmanager
def _flooding(folder: Path, address: str, body: bytes) -> Iterator[None]:
    if not body:
        yield
        return
    command = [sys.executable, "-m", "bench.flood", address, str(folder / FLOOD)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(body)
        process.stdin.close()
        try:
            yield
        finally:
            process.terminate()


_TICKS = os.sysconf("SC_CLK_TCK")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak_kb) / 1024


def _name(number: int) -> str:
    return f"agent-{number:03}"
