"""The loader of most tests is libbpf. bcc loads the same source, but compiles it for seconds: the
modules that say BOTH_LOADERS run with both, and share one source each."""

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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loader" in metafunc.fixturenames:
        both = getattr(metafunc.module, "BOTH_LOADERS", False)
        names = ["libbpf", "bcc"] if both else ["libbpf"]
        metafunc.parametrize("loader", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
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
