"""A role that may become another is as dangerous as that one."""

from __future__ import annotations

import pytest

from collector.drift.baseline import Difference, Fact, Known, Scope
from collector.drift.powers import with_powers
from collector.drift.state import OpenDrift
from model.catalog import Attribution, CatalogKind, DriftChange
from model.verdict import Severity

ROLES = Scope("host-a", "5432", CatalogKind.ROLE, "")
MEMBERSHIPS = Scope("host-a", "5432", CatalogKind.MEMBERSHIP, "")


def told(attributes, change=DriftChange.ADDED, attribution=Attribution.ATTRIBUTED):
    given = ("", "member") if change is DriftChange.ADDED else ("member", "")
    difference = Difference("boss<-x", change, *given, ("", ""))
    drift = OpenDrift(
        MEMBERSHIPS, difference, 1, 0, 1, severity=Severity.MEDIUM, attribution=attribution
    )
    known = Known(None, observed={"boss": Fact(attributes, "")})
    return with_powers(drift, {ROLES: known})


@pytest.mark.parametrize(
    ("attributes", "severity"),
    [
        ("superuser=true bypassrls=true", Severity.CRITICAL),
        ("superuser=false bypassrls=true", Severity.CRITICAL),
        ("replication=true", Severity.HIGH),
        ("createrole=true", Severity.HIGH),
        ("superuser=false login=true", Severity.MEDIUM),
    ],
)
def test_a_membership_is_as_bad_as_its_group(attributes, severity):
    assert told(attributes).severity is severity


def test_the_note_says_why():
    assert told("superuser=true").note == "boss is a superuser"


def test_what_is_reported_again_says_why_once():
    known = {ROLES: Known(None, observed={"boss": Fact("superuser=true", "")})}
    assert with_powers(told("superuser=true"), known).note == "boss is a superuser"


def test_one_that_ends_is_no_danger_and_one_that_was_approved_is_a_step_less():
    assert told("superuser=true", DriftChange.REMOVED).severity is Severity.MEDIUM
    approved = told("superuser=true", attribution=Attribution.APPROVED)
    assert approved.severity is Severity.HIGH


ATTRIBUTES = {
    "ops": "superuser=false",
    "dbas": "superuser=true",
    "pg_write_all_data": "login=false",
}


@pytest.mark.parametrize(
    ("memberships", "severity", "note"),
    [
        ({"dbas<-ops": "member"}, Severity.CRITICAL, "ops may become dbas, which is a superuser"),
        ({"a<-ops": "member", "b<-a": "noset admin", "dbas<-b": "member", "ops<-b": "member"},
         Severity.CRITICAL, "ops may become dbas, which is a superuser"),
        ({"a<-ops": "member", "pg_write_all_data<-a": "member"},
         Severity.CRITICAL, "ops is in pg_write_all_data: as good as a superuser"),
        ({"dbas<-ops": "member noset"}, Severity.MEDIUM, ""),
        ({"ops<-dbas": "member"}, Severity.MEDIUM, ""),
        ({}, Severity.MEDIUM, ""),
    ],
)  # fmt: skip
def test_a_membership_is_as_bad_as_what_the_group_may_become(memberships, severity, note):
    difference = Difference("ops<-etl", DriftChange.ADDED, "", "member", ("", ""))
    drift = OpenDrift(MEMBERSHIPS, difference, 1, 0, 1, attribution=Attribution.ATTRIBUTED)
    known = {
        scope: Known(None, observed={name: Fact(value, "") for name, value in facts.items()})
        for scope, facts in ((ROLES, ATTRIBUTES), (MEMBERSHIPS, memberships))
    }
    told = with_powers(drift, known)
    assert (told.severity, told.note) == (severity, note)
