"""A loader that may have its next instance ready: whether the kernel takes the probes is known
before there is a server, and they are not loaded twice for that."""

from __future__ import annotations

from agent.probes.loader import Loaded, Loader

Wants = tuple[int, int, tuple[str, ...]]


class AheadLoader:
    """As ``loader``. ``load`` and ``unload`` from any thread."""

    def __init__(self, loader: Loader) -> None:
        self.name = loader.name
        self._loader = loader
        self._ready: list[tuple[Wants, Loaded]] = []

    def load_ahead(self, ring_bytes: int, sessions: int, *, inside: tuple[str, ...]) -> None:
        """What the next ``load`` of the same gets. Raises CaptureUnavailable."""
        loaded = self._loader.load(ring_bytes, sessions, inside=inside)
        self._ready.append(((ring_bytes, sessions, inside), loaded))

    def load(self, ring_bytes: int, sessions: int, *, inside: tuple[str, ...] = ()) -> Loaded:
        try:
            wants, loaded = self._ready.pop()
        except IndexError:
            return self._loader.load(ring_bytes, sessions, inside=inside)
        if wants == (ring_bytes, sessions, inside):
            return loaded
        self._loader.unload(loaded)
        return self._loader.load(ring_bytes, sessions, inside=inside)

    def unload(self, loaded: Loaded) -> None:
        self._loader.unload(loaded)

    def close(self) -> None:
        """Unloads what nobody asked for."""
        while self._ready:
            self._loader.unload(self._ready.pop()[1])
