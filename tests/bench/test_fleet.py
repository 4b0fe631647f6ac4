"""Played agents at a real collector: what is measured is what arrived."""

from bench import intake


def test_a_few_agents_are_played_to_the_end_and_every_event_is_visible(capsys):
    figures = intake._fleet(agents=3, rate=120, seconds=1.5)
    assert figures["agents"] == 3
    assert figures["events_per_second"] == 120
    assert 0 < figures["end_to_end_p50_seconds"] <= figures["end_to_end_p99_seconds"]
    assert figures["rss_mb"] > 50
    assert "fleet agents 3" in capsys.readouterr().out
