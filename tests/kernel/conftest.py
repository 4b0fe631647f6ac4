"""Both loaders run every test here; bcc compiles for seconds, so a module shares its source."""

import os
from collections.abc import Iterator

import pytest

from agent.discovery import Cluster, cluster_at
from agent.probes.build import build
from agent.probes.loader import OBJECT, SOURCE, open_loader
from agent.sources.ebpf import EbpfSource
from tests.kernel.capture import Capture

PARTS = tuple(SOURCE.parent.glob("*.bpf.[ch]"))


@pytest.fixture(scope="session")
def compiled_probes() -> None:
    """As root a probe that does not compile or load is an error of the test that asks for it."""
    if os.geteuid() != 0:
        pytest.skip("only root may load probes")
    newest = max(part.stat().st_mtime for part in PARTS)
    if not OBJECT.exists() or OBJECT.stat().st_mtime < newest:
        build()


@pytest.fixture(scope="module", params=["libbpf", "bcc"])
def loader(request, compiled_probes):
    return open_loader(request.param)


@pytest.fixture
def libbpf(compiled_probes):
    """For what no loader has a part in."""
    return open_loader("libbpf")


@pytest.fixture(scope="module")
def cluster(postgres) -> Cluster:
    found = cluster_at(postgres.postmaster_pid)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def capture(loader, cluster, postgres) -> Iterator[Capture]:
    with EbpfSource(loader=loader) as source:
        source.add(cluster)
        yield Capture(source, postgres)
