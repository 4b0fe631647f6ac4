"""What is loaded before there is a server is what the first server gets."""

from agent.probes.ahead import AheadLoader
from agent.probes.loader import Loaded

WANTS = 4096, 16
INSIDE = ("on_command",)


class Counting:
    """Loads nothing, and counts."""

    name = "libbpf"

    def __init__(self):
        self.loaded, self.unloaded = [], []

    def load(self, ring_bytes, sessions, *, inside=()):
        self.loaded.append(Loaded({}, {}, (ring_bytes, sessions, inside)))
        return self.loaded[-1]

    def unload(self, loaded):
        self.unloaded.append(loaded)


def test_the_first_server_gets_what_was_loaded_ahead_and_the_second_its_own():
    counting = Counting()
    loader = AheadLoader(counting)
    loader.load_ahead(*WANTS, inside=INSIDE)
    first, second = (loader.load(*WANTS, inside=INSIDE) for _ in range(2))
    assert counting.loaded == [first, second]
    assert first is not second
    assert counting.unloaded == []


def test_whoever_wants_another_kind_gets_it_and_what_was_ready_goes():
    counting = Counting()
    loader = AheadLoader(counting)
    loader.load_ahead(*WANTS, inside=INSIDE)
    assert loader.load(*WANTS).owner == (*WANTS, ())
    assert counting.unloaded == counting.loaded[:1]


def test_what_nobody_asked_for_is_unloaded_at_the_end():
    counting = Counting()
    loader = AheadLoader(counting)
    loader.load_ahead(*WANTS, inside=INSIDE)
    loader.close()
    loader.close()
    assert counting.unloaded == counting.loaded


def test_what_was_given_away_is_unloaded_by_who_has_it():
    counting = Counting()
    loader = AheadLoader(counting)
    loader.load_ahead(*WANTS, inside=INSIDE)
    loaded = loader.load(*WANTS, inside=INSIDE)
    loader.close()
    assert counting.unloaded == []
    loader.unload(loaded)
    assert counting.unloaded == [loaded]
