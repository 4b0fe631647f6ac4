"""Two hosts and a bad wire between them: network namespaces of our own, and nothing else's.

Each namespace has a TUN device whose other end is here: a packet is lost, late, twice or overtaken
as the dice say. ``tc netem`` would do the same, but not every kernel has it, and its dice have no
seed before Linux 6.7.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
DEVICE = "wire"
ADDRESSES = ("10.77.0.1", "10.77.0.2")
MTU = 1500


class NoWireError(Exception):
    """No namespaces or TUN devices can be made here; the message says why."""


@dataclass(frozen=True)
class Weather:
    """Both ways alike; shares are of packets, delays one way."""

    lost: float = 0.0
    twice: float = 0.0
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    """Added at random, packet by packet: later ones overtake."""


FINE = Weather()


class Wire:
    """``weather`` and ``is_cut`` may be changed at any moment."""

    def __init__(self, names: tuple[str, str], ends: tuple[int, int], dice: random.Random) -> None:
        self._names = names
        self._ends = ends
        self._dice = dice
        self.weather = FINE
        self.is_cut = False
        self.packets = self.lost = self.overtaken = 0
        self._late: list[tuple[float, int, int, bytes]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="wire", daemon=True)
        self._thread.start()

    def at(self, side: int, command: list[str], **how: Any) -> "subprocess.Popen[bytes]":
        """Start a program on the host of that side: 0 or 1."""
        return subprocess.Popen(["ip", "netns", "exec", self._names[side], *command], **how)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _carry(self) -> None:
        while not self._stop.is_set():
            due = self._late[0][0] - time.monotonic() if self._late else 0.1
            for end in select.select(self._ends, (), (), min(max(due, 0.0), 0.1))[0]:
                self._send(os.read(end, MTU), self._ends[1 - self._ends.index(end)])
            self._deliver()

    def _send(self, packet: bytes, to: int) -> None:
        self.packets += 1
        weather = self.weather
        if self.is_cut or self._dice.random() < weather.lost:
            self.lost += 1
            return
        for _ in range(2 if self._dice.random() < weather.twice else 1):
            late = weather.delay_seconds + self._dice.uniform(0, weather.jitter_seconds)
            at = time.monotonic() + late
            self.overtaken += any(at < other and end == to for other, _, end, _ in self._late)
            heapq.heappush(self._late, (at, self.packets, to, packet))

    def _deliver(self) -> None:
        while self._late and self._late[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(self._late)
            if self.is_cut:
                self.lost += 1
                continue
            os.write(to, packet)


@contextmanager
def wire(dice: random.Random) -> Iterator[Wire]:
    """Raises NoWireError. The namespaces and all that still runs in them go at the end."""
    unique = f"pgwarden-{os.getpid()}-{os.urandom(3).hex()}"
    names = (f"{unique}-a", f"{unique}-b")
    ends: list[int] = []
    carrier: Wire | None = None
    try:
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip("netns", "add", name)
            ends.append(_tun_in(name))
            _ip("-n", name, "address", "add", f"{address}/30", "dev", DEVICE)
            _ip("-n", name, "link", "set", DEVICE, "mtu", str(MTU), "up")
            _ip("-n", name, "link", "set", "lo", "up")
        carrier = Wire(names, (ends[0], ends[1]), dice)
        yield carrier
    finally:
        if carrier is not None:
            carrier.close()
        for end in ends:
            os.close(end)
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoWireError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _tun_in(name: str) -> int:
    """A device in that namespace, held by us. Entered by a thread that ends with it: a namespace is
    a thread's own, and a device stays in that in which it was made."""
    made: list[int] = []
    problems: list[OSError] = []

    def make() -> None:
        try:
            with open(f"/run/netns/{name}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            end = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            made.append(end)
            wanted = struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI)
            fcntl.ioctl(end, TUNSETIFF, wanted)
        except OSError as error:
            problems.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if problems:
        for end in made:
            os.close(end)
        raise NoWireError(f"a TUN device: {problems[0]}")
    return made[0]
