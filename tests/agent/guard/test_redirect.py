"""The message and the registers of a refusal, as values."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.guard.memory import Registers
from agent.guard.redirect import (
    ERROR_DATA_BYTES,
    INSUFFICIENT_PRIVILEGE,
    MESSAGE_BYTES,
    RED_ZONE_BYTES,
    RedirectError,
    Refusal,
    aim,
    denial,
    redirect,
)
from agent.guard.server import ERROR_DATA, Server, UnknownServerError, exported

SAID = b"permission denied for database "


def test_the_refusal_names_database_rule_title_and_whom_to_ask():
    assert denial("shop", "ddl.drop", "DROP on a protected schema", "dba@example.com") == Refusal(
        SAID + b"shop (blocked by pgwarden: rule ddl.drop: DROP on a protected schema; "
        b"ask dba@example.com)",
        b"Ask dba@example.com.",
    )


def test_the_refusal_names_nobody_where_no_contact_is_configured():
    said = SAID + b"(blocked by pgwarden: rule r1: No)"
    assert denial("", "r1", "No", "") == Refusal(said, b"")


def test_the_hint_names_the_request_and_how_to_look_at_it():
    assert denial("shop", "r1", "No", "dba", "7K2QX0M9TA").hint == (
        b"Ask dba to approve request 7K2QX0M9TA (pgwarden approvals show 7K2QX0M9TA)."
    )
    assert b"request 7K2QX0M9TA" in denial("shop", "r1", "No", "", "7K2QX0M9TA").hint


@given(st.text(), st.text(), st.text(), st.text(), st.text(max_size=10))
def test_a_refusal_is_always_short_printable_ascii_without_nul(
    database, rule, title, contact, request
):
    refusal = denial(database, rule, title, contact, request)
    for text in (refusal.message, refusal.hint):
        assert len(text) <= MESSAGE_BYTES
        assert all(32 <= byte < 127 for byte in text)


@pytest.mark.parametrize("long", ["database", "rule_id", "title", "contact", "recognised"])
@given(text=st.text(min_size=MESSAGE_BYTES, max_size=3 * MESSAGE_BYTES))
def test_a_refusal_names_its_request_however_long_the_rest_is(long, text):
    parts = {"database": "shop", "rule_id": "r1", "title": "No", "contact": "dba"} | {long: text}
    refusal = denial(**parts, request="7K2QX0M9TA")
    assert len(refusal.message) <= MESSAGE_BYTES
    assert refusal.message.endswith(b"; request 7K2QX0M9TA)")
    assert refusal.hint.endswith(b" request 7K2QX0M9TA (pgwarden approvals show 7K2QX0M9TA).")


def test_a_long_title_leaves_room_for_whom_to_ask():
    refusal = denial("shop", "r1", "No " * 500, "dba@example.com", "7K2QX0M9TA", "DROP TABLE a")
    assert refusal.message.endswith(
        b"...; recognised DROP TABLE a; ask dba@example.com; request 7K2QX0M9TA)"
    )


@pytest.mark.parametrize("layout", ERROR_DATA.values(), ids=ERROR_DATA)
@given(st.integers(2**40, 2**47 - 1), st.binary(min_size=1, max_size=MESSAGE_BYTES), st.binary())
def test_registers_form_an_aligned_call_with_the_error_between_callee_and_caller(
    layout, rsp, message, hint
):
    registers = Registers(rsp=rsp)
    address, block = aim(registers, 0x1234, layout, Refusal(message, hint))
    assert registers.rsp % 16 == 8
    assert registers.rsp == address
    assert address + len(block) == rsp - RED_ZONE_BYTES
    assert (registers.rip, registers.rdi % 16) == (0x1234, 0)
    data = block[registers.rdi - address :][:ERROR_DATA_BYTES]
    assert struct.unpack_from("<i", data) == (layout.error_level,)
    assert struct.unpack_from("<Q", data, layout.sqlstate) == (INSUFFICIENT_PRIVILEGE,)
    texts = [struct.unpack_from("<Q", data, at)[0] for at in (layout.message, layout.hint)]
    assert registers.rdi + ERROR_DATA_BYTES <= texts[0]
    assert block[texts[0] - address :].startswith(message + b"\0")
    if hint:
        assert block[texts[1] - address :] == hint + b"\0"
    else:
        assert texts[1] == 0


def test_the_sqlstate_is_packed_as_postgresql_packs_it():
    """ERRCODE_INSUFFICIENT_PRIVILEGE, as its ``geterrcode()`` gives it."""
    unpacked = (INSUFFICIENT_PRIVILEGE >> 6 * at & 0x3F for at in range(5))
    assert "".join(chr(six + ord("0")) for six in unpacked) == "42501"
    assert INSUFFICIENT_PRIVILEGE == 16797828


def test_a_version_that_was_never_verified_is_refused():
    server = Server(1, 1, 11, 0, 0, ())
    with pytest.raises(RedirectError, match="PostgreSQL 11"):
        redirect(1, server, Refusal(b"no"))


def test_a_file_that_is_no_program_is_an_error_of_ours(tmp_path):
    (tmp_path / "postgres").write_bytes(b"#!/bin/sh\n")
    with pytest.raises(UnknownServerError, match="not an ELF program"):
        exported(tmp_path / "postgres", ["PortalRun"])


def test_a_postmaster_that_ended_is_an_error_of_ours():
    with pytest.raises(UnknownServerError, match="postmaster 4194304"):
        Server.running(4_194_304, 15)


def test_a_denial_says_what_the_statement_was_taken_for():
    text = denial("shop", "r1", "No", "dba", recognised="DELETE hr.salaries").message
    assert text.removeprefix(SAID) == (
        b"shop (blocked by pgwarden: rule r1: No; recognised DELETE hr.salaries; ask dba)"
    )


def test_a_long_description_is_cut_and_leaves_room_for_the_contact():
    text = denial("shop", "r1", "No", "dba", recognised="DROP TABLE " + "a, " * 500).message
    assert len(text) < 280
    assert text.endswith(b"...; ask dba)")
