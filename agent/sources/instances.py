"""The kernel programs of a host, one for each server program: made ready, in use, on their way out.

To load and to attach takes seconds, and so does taking away: both have threads of their own.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from agent.discovery import Cluster
from agent.probes.ahead import AheadLoader
from agent.probes.loader import Loader
from agent.sources.instance import Instance, Wanted, build

_Key = tuple[int, int]


class Instances:
    """Not for use by several threads at once; ``prepare``, and walking over those in use, may come
    from another one."""

    def __init__(self, loader: Loader, wanted: Wanted, pulse: Callable[[], bytes]) -> None:
        """``pulse``: what a new one is told of the judge."""
        self._loader = AheadLoader(loader)
        self._wanted = wanted
        self._pulse = pulse
        self._used: dict[_Key, Instance] = {}
        self._built: dict[_Key, Instance] = {}
        """Prepared, and not in use yet."""
        self._building = threading.Lock()
        self._closed = False
        self._leaving: list[threading.Thread] = []
        self._left: queue.SimpleQueue[Instance] = queue.SimpleQueue()
        self._names: dict[int, str] = {}
        self._calls: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Instance]:
        """Those in use, whatever becomes of them meanwhile."""
        return iter(list(self._used.values()))

    @property
    def loader(self) -> str:
        return self._loader.name

    @property
    def calls(self) -> frozenset[str]:
        """Functions whose calls are held."""
        return self._calls

    def probe_calls(self, names: frozenset[str]) -> None:
        self._calls = names
        for instance in self:
            instance.probe_calls(names)

    def load_ahead(self) -> None:
        """Loads what the first server needs before there is one: what the kernel refuses is known
        at once. Raises CaptureUnavailable."""
        wanted = self._wanted
        self._loader.load_ahead(wanted.ring_bytes, wanted.sessions, inside=wanted.programs_inside)

    def prepare(self, cluster: Cluster) -> None:
        """Loads and attaches what ``adopt`` gives. Raises CaptureUnavailable."""
        key = _key(cluster)
        with self._building:
            if self._closed or key in self._used or key in self._built:
                return
            self._built[key] = self._build(cluster)

    def of(self, cluster: Cluster) -> Instance | None:
        """The one in use for its program."""
        return self._used.get(_key(cluster))

    def adopt(self, cluster: Cluster) -> Instance:
        """Takes into use the one that was prepared, or one that is made now. Does not wait for one
        that another thread is building."""
        key = _key(cluster)
        instance = self._built.get(key) or self._build(cluster)
        self._used[key] = instance  # before it leaves the others: nobody builds another one
        self._built.pop(key, None)
        if instance.calls != self._calls:
            instance.probe_calls(self._calls)
        return instance

    def number(self, name: str) -> int:
        """Of a cluster, for the kernel."""
        number = len(self._names) + 1
        self._names[number] = name
        return number

    def discard(self, kept: Iterable[Cluster]) -> None:
        """A server that ended while its probes were made ready leaves none behind."""
        keys = {_key(cluster) for cluster in kept}
        for key in [key for key in list(self._built) if key not in keys]:
            instance = self._built.pop(key, None)
            if instance is not None:
                self._beside(instance.close)

    def let_go(self, instance: Instance, then: Callable[[], None]) -> None:
        """Its probes go one after the other, which takes a while: not on this thread, which
        ``left`` gives it back to. ``then``: it can be asked for."""
        self._used = {key: one for key, one in self._used.items() if one is not instance}

        def detach() -> None:
            instance.detach()
            self._left.put(instance)
            then()

        self._beside(detach)

    def left(self, *, wait: bool = False) -> Iterator[Instance]:
        """Those without probes, which may have something to tell still. ``wait``: for all."""
        for thread in self._leaving if wait else ():
            thread.join()
        while not self._left.empty():
            yield self._left.get()

    def close(self) -> None:
        """Takes all probes away."""
        with self._building:
            self._closed = True
            for instance in (*self._used.values(), *self._built.values()):
                instance.close()
            self._used.clear()
            self._built.clear()
        self._loader.close()

    def _build(self, cluster: Cluster) -> Instance:
        return build(
            cluster,
            self._loader,
            self._wanted,
            self._calls,
            self._pulse(),
            lambda number: self._names.get(number, ""),
        )

    def _beside(self, detach: Callable[[], None]) -> None:
        thread = threading.Thread(target=detach, name="detach", daemon=True)
        self._leaving = [one for one in self._leaving if one.is_alive()] + [thread]
        thread.start()


def _key(cluster: Cluster) -> _Key:
    return cluster.device, cluster.inode
