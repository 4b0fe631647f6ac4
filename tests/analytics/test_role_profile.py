"""A statement that is not its identity's is told, and which item makes it so."""

from __future__ import annotations

from analytics.detectors.role_profile import RoleProfile
from tests.analytics.offices import by, found, highest, office_days

STRANGE = {"reads": ["hr.salaries"], "columns_used": ["ssn", "amount"], "fingerprint": "strange"}


def test_a_person_who_turns_to_others_columns_is_told_with_the_item_that_surprises():
    findings = found(RoleProfile(), office_days(0, 12), [by("bob", 12, 11, **STRANGE)])
    last = findings[-1]
    assert last.identity == "bob"
    assert highest(findings, "bob", 12) > 3
    assert "of the surprise is" in last.sentence
    assert {name for name, _ in last.details} >= {
        "expected", "seen", "unit", "history_days", "surprise of reading hr.salaries",
        "surprise of column ssn",
    }  # fmt: skip


def test_the_same_statement_is_ordinary_for_those_whose_work_it_is():
    findings = found(RoleProfile(), office_days(0, 12), [by("dave", 12, 11, **STRANGE)])
    assert highest(findings, "dave", 12) < 1.5


def test_what_nobody_uses_surprises_more_than_what_peers_use():
    unknown = {"reads": ["vault.keys"], "columns_used": ["secret"], "fingerprint": "unknown"}
    of_peers = {"reads": ["shop.customers"], "columns_used": ["name"], "fingerprint": "peers"}
    nobody = found(RoleProfile(), office_days(0, 12), [by("bob", 12, 11, **unknown)])
    peers = found(RoleProfile(), office_days(0, 12), [by("bob", 12, 11, **of_peers)])
    assert highest(nobody, "bob", 12) > highest(peers, "bob", 12) + 1


def test_a_statement_of_many_ordinary_columns_is_no_surprise():
    wide = {"reads": ["shop.orders"], "columns_used": ["id", "total", "placed_at"]}
    findings = found(RoleProfile(), office_days(0, 12), [by("alice", 12, 11, **wide)])
    assert highest(findings, "alice", 12) < 1.5


def test_a_new_table_after_a_deploy_is_told_once_a_day_and_becomes_usual():
    def release(day):
        new = {"reads": ["shop.coupons"], "columns_used": ["code"], "fingerprint": "coupons"}
        return [by("alice", day, 9 + n / 10, **new) for n in range(60)]

    days = [row for day in range(12, 20) for row in release(day)]
    findings = found(RoleProfile(), office_days(0, 20), days)
    assert len({f.id for f in findings if f.identity == "alice"}) <= 12
    assert highest(findings, "alice", 12) > highest(findings, "alice", 19) + 1


def test_the_tenth_unknown_column_is_no_news_beside_the_first():
    def strange(columns):
        names = [f"secret{n}" for n in range(columns)]
        unknown = {"reads": ["vault.keys"], "columns_used": names, "fingerprint": "unknown"}
        rows = found(RoleProfile(), office_days(0, 12), [by("bob", 12, 11, **unknown)])
        return highest(rows, "bob", 12)

    assert strange(1) < strange(10) < strange(1) + 3


def test_a_misspelt_name_is_no_surprise():
    wrong = {"reads": ["shop.ordres"], "columns_used": ["totl"], "sqlstate": "42P01"}
    findings = found(RoleProfile(), office_days(0, 12), [by("bob", 12, 11, **wrong)])
    assert highest(findings, "bob", 12) < 0.75


def test_scores_of_the_first_day_are_low_for_everybody():
    assert found(RoleProfile(), office_days(0, 1)) == []


def test_a_newcomer_is_compared_with_the_peers_and_the_sentence_says_so():
    newcomer = [by("erin", 12, 9 + n, reads=["shop.orders"], columns_used=["id"]) for n in range(5)]
    plain = found(RoleProfile(), office_days(0, 13), newcomer)
    vault = by("erin", 12, 15, reads=["vault.keys", "vault.seals"], columns_used=["secret", "salt"])
    strange = found(RoleProfile(), office_days(0, 13), newcomer, [vault])
    assert highest(strange, "erin", 12) > highest(plain, "erin", 12)
    assert all(f.sentence.endswith("(0 days of history)") for f in strange if f.identity == "erin")
