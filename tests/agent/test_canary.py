"""A probe that is attached and never fires is noticed."""

from dataclasses import replace

from agent.canary import Canary
from model.session import BackendKey, Session
from model.statement import Source, Statement

OWN = Statement(
    id=1,
    session=Session(BackendKey(1, 1), cluster="main", application_name="pgwarden"),
    text=b"SELECT 1",
    text_bytes=8,
    started_at_us=100_000_000,
    source=Source.BOTH,
    sqlstate="00000",
)


def test_a_round_that_both_probes_saw_is_good():
    canary = Canary("pgwarden", 10.0)
    canary.observe(OWN)
    assert canary.judge("main", 100.5, 120) == {"PortalRun": True, "secure_write": True}


def test_a_round_that_only_the_log_saw_is_an_alarm():
    canary = Canary("pgwarden", 10.0)
    canary.observe(replace(OWN, source=Source.PGAUDIT))
    assert canary.judge("main", 100.5, 120) == {"PortalRun": False, "secure_write": False}


def test_a_start_without_an_end_names_the_probe_that_is_silent():
    canary = Canary("pgwarden", 10.0)
    canary.observe(replace(OWN, sqlstate=""))
    assert canary.judge("main", 100.5, 120) == {"PortalRun": True, "secure_write": False}


def test_an_old_sighting_does_not_prove_a_new_round():
    canary = Canary("pgwarden", 10.0)
    canary.observe(OWN)
    assert canary.judge("main", 200.0, 220)["PortalRun"] is False


def test_nothing_is_said_before_the_record_can_be_there():
    assert Canary("pgwarden", 10.0).judge("main", 100.0, 105) == {}


def test_statements_of_others_prove_nothing():
    canary = Canary("pgwarden", 10.0)
    canary.observe(replace(OWN, session=replace(OWN.session, application_name="psql")))
    assert canary.judge("main", 100.5, 120)["PortalRun"] is False


def test_rounds_faster_than_the_grace_are_still_judged():
    canary = Canary("pgwarden", 10.0)
    canary.observe(OWN)
    judged = [canary.judge("main", at, at) for at in range(100, 121, 2)]
    assert {"PortalRun": True, "secure_write": True} in judged
    assert canary.judge("main", 142.0, 142.0)["PortalRun"] is False
