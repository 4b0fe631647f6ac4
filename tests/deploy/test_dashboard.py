"""Every panel shows something: each query runs against a real Prometheus and gives data."""

import math

import pytest
import yaml

from tests.collector.alerts.samples import wait_until
from tests.deploy import dashboard
from tests.deploy.peers import PROMETHEUS, Prometheus, need
from tests.deploy.programs import fed_servers

QUERIES = sorted({query.expression for query in dashboard.queries()})


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    need(PROMETHEUS)
    folder = tmp_path_factory.mktemp("prometheus")
    with fed_servers() as ports, Prometheus(folder, ports) as server:
        yield server


def shows_data(prometheus: Prometheus, expression: str) -> bool:
    results = prometheus.query(expression)
    return any(not math.isnan(float(result["value"][1])) for result in results)


@pytest.mark.peers
@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_dashboard_returns_data(prometheus, expression):
    wait_until(lambda: shows_data(prometheus, expression), seconds=20)


@pytest.mark.peers
def test_the_cluster_variable_lists_the_clusters(prometheus):
    wait_until(
        lambda: (
            prometheus.get(
                "/api/v1/label/cluster/values", **{"match[]": "pgwarden_collector_statements_total"}
            )["data"]
            == ["5432"]
        )
    )


def test_panels_have_their_own_ids_and_do_not_overlap():
    panels = dashboard.load()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert all(0 <= x < 24 for x, _ in cells)


def test_every_panel_says_what_it_shows_and_what_no_data_means():
    for panel in dashboard.panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert [t["refId"] for t in panel["targets"]] == list("ABC"[: len(panel["targets"])])


def test_provisioning_points_at_one_prometheus_and_one_folder():
    folder = dashboard.DASHBOARD.parent.parent / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "pgwarden.yml").read_text())
    providers = yaml.safe_load((folder / "dashboards" / "pgwarden.yml").read_text())
    assert (sources["apiVersion"], sources["datasources"][0]["type"]) == (1, "prometheus")
    assert (providers["apiVersion"], providers["providers"][0]["type"]) == (1, "file")
