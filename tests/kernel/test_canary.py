"""A probe that falls silent while the agent runs is noticed, and so is its return."""

import os
from functools import partial

import pytest

from agent.canary import Canary, Minded
from agent.discovery import backend_here
from agent.probes.kernel import attach_uprobe
from agent.probes.symbols import PROBES, TELLING_PROBES
from agent.sources.canary import sing
from agent.sources.ebpf import EbpfSource

pytestmark = [pytest.mark.kernel, pytest.mark.live]


class Watched:
    """A canary of ``cluster`` whose round is driven by the test, and the source that it proves."""

    def __init__(self, source, cluster, postgres, name="pgwarden"):
        self.source, self.minded = source, Minded()
        (self.instance,) = source._instances
        connect = partial(postgres.connect, application_name=name)
        self.canary = Canary(
            self.minded,
            source.telling,
            lambda sightings: sing(sightings, connect, partial(backend_here, cluster)),
            60.0,
            1.0,
        )
        # What is waited for must come meanwhile: here between two looks, in the agent from a
        # thread of its own.
        self.canary._wait_for = self._wait_for
        self.told = []

    def _wait_for(self, sightings):
        for _ in range(10):
            events = self.source.poll(100)
            self.told += events
            self.minded.observe(events)
            if sightings.complete:
                return

    def round(self):
        self.canary.round()
        return self.canary.fires()

    def detach(self, program):
        """This probe alone: the kernel takes it away with its descriptor."""
        os.close(self.instance.descriptors.pop(self._place(program)))

    def attach(self, program):
        binary = self.instance.binary
        fd = self.instance.loaded.programs[program]
        offset = binary.entry(program).file_offset
        self.instance.descriptors.insert(
            self._place(program), attach_uprobe(fd, binary.path, offset)
        )

    def _place(self, program):
        """The first is that of the end of processes."""
        return 1 + self.source._wanted.probed.index(program)


@pytest.fixture
def watched(libbpf, cluster, postgres):
    with EbpfSource(loader=libbpf, nested=True) as source:
        source.add(cluster)
        yield Watched(source, cluster, postgres)


def test_every_attached_probe_is_proven_by_one_round(watched):
    functions = [*TELLING_PROBES.values(), "sched_process_exit"]
    assert watched.round() == dict.fromkeys(functions, True)


@pytest.mark.parametrize("program", [*TELLING_PROBES])
def test_the_alarm_names_the_probe_that_was_silenced_and_ends_when_it_is_back(watched, program):
    assert all(watched.round().values())
    watched.detach(program)
    silent = [function for function, fires in watched.round().items() if not fires]
    assert silent == [TELLING_PROBES[program]]
    assert watched.canary.problems() == [f"the probe on {TELLING_PROBES[program]} does not fire"]
    watched.attach(program)
    assert all(watched.round().values())
    assert watched.canary.problems() == []


def test_a_source_that_tells_of_commands_alone_is_proven_by_a_command(libbpf, cluster, postgres):
    with EbpfSource(loader=libbpf, commands=True) as source:
        source.add(cluster)
        functions = [*PROBES.values(), "standard_ProcessUtility", "sched_process_exit"]
        assert Watched(source, cluster, postgres).round() == dict.fromkeys(functions, True)


def test_a_login_that_may_not_replicate_asks_for_no_replication(libbpf, cluster, postgres):
    postgres.psql("CREATE ROLE plain LOGIN")
    try:
        with EbpfSource(loader=libbpf) as source:
            source.add(cluster)
            watched = Watched(source, cluster, postgres)
            plain = partial(postgres.connect, user="plain")
            watched.canary._sing = lambda sightings: sing(sightings, plain)
            assert "exec_replication_command" not in watched.round()
            assert all(watched.canary.fires().values())
        lines = [
            line
            for log in postgres.log_directory.glob("*.csv")
            for line in log.read_text(errors="replace").splitlines()
        ]
        assert [line for line in lines if '"plain"' in line and "FATAL" in line] == []
    finally:
        postgres.psql("DROP ROLE plain")
