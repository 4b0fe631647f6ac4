"""What the dashboard asks of Prometheus, with Grafana's variables filled in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARD = Path("deploy/grafana/dashboards/pgwarden.json")
# As Grafana fills them for "All" clusters and a scrape interval of one second.
_VARIABLES = {"$__rate_interval": "5s", "$cluster": ".*"}


@dataclass(frozen=True)
class Query:
    panel: str
    expression: str


def load() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def panels() -> list[dict[str, Any]]:
    return [panel for panel in load()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in _VARIABLES.items():
                expression = expression.replace(name, value)
            yield Query(panel["title"], expression)
