"""``pgwarden findings --kind`` knows the kinds that exist, and the documentation names the same."""

import re

from typer.testing import CliRunner

from cli.main import app
from collector.schema import TABLES
from model.finding import FindingKind


def test_a_kind_that_nothing_produces_is_refused_with_those_that_are_there():
    done = CliRunner().invoke(app, ["findings", "--kind", "coverage"])
    assert done.exit_code == 2
    assert all(kind in done.stderr for kind in FindingKind)


def test_the_view_findings_documents_the_kinds_that_are_produced():
    (meaning,) = [c.meaning for c in TABLES["findings"].columns if c.name == "kind"]
    assert re.findall(r"`(\w+)`", meaning) == list(FindingKind)
