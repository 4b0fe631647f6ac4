"""What changes the collector or ends a session stands in the ledger itself."""

from collector import ledger_reading
from collector.__main__ import Collector
from collector.pgwarden_verify import check_folder
from config.schema import CollectorConfig
from protos.pgwarden.v1 import uplink_pb2 as pb


def notes_after(folder, do=lambda collector: None, **settings):
    config = CollectorConfig.model_validate(
        {
            "data_dir": folder / "data",
            "listen": [f"unix:{folder}/c.sock"],
            "metrics": {"port": 0},
            **settings,
        }
    )
    collector = Collector(config)
    collector.start()
    do(collector)
    collector.stop()
    assert check_folder(folder / "data").problems == []
    entries = ledger_reading.read(folder / "data" / ledger_reading.NAME).entries
    return [dict(note) for entry in entries for note in entry.notes]


def test_a_configuration_is_noted_when_it_changes_and_not_at_every_start(tmp_path):
    first = notes_after(tmp_path)
    assert [note["kind"] for note in first] == ["configuration"]
    assert notes_after(tmp_path) == first
    changed = notes_after(tmp_path, commit_seconds=0.25)
    assert [note["kind"] for note in changed] == ["configuration"] * 2
    assert changed[0]["sha256"] != changed[1]["sha256"]


def test_an_order_is_noted_with_who_gave_it_and_what_came_of_it(tmp_path):
    command = pb.Command(kind="terminate", cluster="main", pid=4711, requested_by="dana")
    found = notes_after(tmp_path, lambda collector: collector._agents.order("gone", command))
    (order,) = [note for note in found if note["kind"] == "order"]
    assert (order["action"], order["agent"], order["pid"]) == ("terminate", "gone", 4711)
    assert (order["by"], order["outcome"]) == ("dana", "failed")
