"""No refusal ever crashes a backend; ``python -m tests.kernel.redirects`` does it 10,000 times."""

import os
import shutil

import pytest

from tests.conformance.servers import DEBIAN_MAJOR, FETCHED, fetch
from tests.kernel.redirects import refuse

pytestmark = [pytest.mark.kernel, pytest.mark.live]

COUNT = int(os.environ.get("PGWARDEN_REDIRECTS", "1000"))


@pytest.mark.parametrize("major", [12, 15, 18])
def test_refusals_inside_and_outside_transactions_under_load_crash_nothing(major):
    if major != DEBIAN_MAJOR:
        if not FETCHED.exists() and shutil.which("npm") is None:
            pytest.skip("npm is not installed: ./run setup installs it")
        fetch()
    assert refuse(major, COUNT).count >= COUNT


@pytest.mark.parametrize("major", [12, 15, 18])
def test_refused_calls_inside_and_outside_subtransactions_under_load_crash_nothing(major):
    if major != DEBIAN_MAJOR:
        if not FETCHED.exists() and shutil.which("npm") is None:
            pytest.skip("npm is not installed: ./run setup installs it")
        fetch()
    assert refuse(major, COUNT, calls=True).count >= COUNT
