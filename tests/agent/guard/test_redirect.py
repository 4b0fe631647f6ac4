"""The message and the registers of a refusal, as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.guard.memory import Registers
from agent.guard.redirect import (
    MESSAGE_BYTES,
    RED_ZONE_BYTES,
    RedirectError,
    aim,
    denial,
    redirect,
)
from agent.guard.server import Server, UnknownServerError, exported


def test_the_refusal_names_database_rule_title_and_whom_to_ask():
    assert denial("shop", "ddl.drop", "DROP on a protected schema", "dba@example.com") == (
        b"shop (blocked by pgwarden: rule ddl.drop: DROP on a protected schema; "
        b"ask dba@example.com)"
    )


def test_the_refusal_names_nobody_where_no_contact_is_configured():
    assert denial("", "r1", "No", "") == b"(blocked by pgwarden: rule r1: No)"


@given(st.text(), st.text(), st.text(), st.text())
def test_a_refusal_is_always_short_printable_ascii_without_nul(database, rule, title, contact):
    text = denial(database, rule, title, contact)
    assert len(text) <= MESSAGE_BYTES
    assert all(32 <= byte < 127 for byte in text)


@pytest.mark.parametrize("long", ["database", "rule_id", "title", "contact", "recognised"])
@given(text=st.text(min_size=MESSAGE_BYTES, max_size=3 * MESSAGE_BYTES))
def test_a_refusal_ends_with_its_request_however_long_the_rest_is(long, text):
    parts = {"database": "shop", "rule_id": "r1", "title": "No", "contact": "dba"} | {long: text}
    message = denial(**parts, request="7K2QX0M9TA")
    assert len(message) <= MESSAGE_BYTES
    assert message.endswith(b"; request 7K2QX0M9TA)")


def test_a_long_title_leaves_room_for_whom_to_ask():
    text = denial("shop", "r1", "No " * 500, "dba@example.com", "7K2QX0M9TA", "DROP TABLE a")
    assert text.endswith(b"...; recognised DROP TABLE a; ask dba@example.com; request 7K2QX0M9TA)")


@given(st.integers(2**40, 2**47 - 1), st.binary(min_size=1, max_size=MESSAGE_BYTES))
def test_registers_form_an_aligned_call_with_the_text_between_callee_and_caller(rsp, message):
    registers = Registers(rsp=rsp)
    address, block = aim(registers, 0x1234, 9, message)
    assert registers.rsp % 16 == 8
    assert registers.rsp == address
    assert address + len(block) == rsp - RED_ZONE_BYTES
    start = registers.rdx - address
    assert start >= 8
    assert block[start:] == message + b"\0"
    assert (registers.rip, registers.rdi, registers.rsi) == (0x1234, 1, 9)


def test_a_version_that_was_never_verified_is_refused():
    server = Server(1, 1, 11, 0, 0, ())
    with pytest.raises(RedirectError, match="PostgreSQL 11"):
        redirect(1, server, b"no")


def test_a_file_that_is_no_program_is_an_error_of_ours(tmp_path):
    (tmp_path / "postgres").write_bytes(b"#!/bin/sh\n")
    with pytest.raises(UnknownServerError, match="not an ELF program"):
        exported(tmp_path / "postgres", ["PortalRun"])


def test_a_postmaster_that_ended_is_an_error_of_ours():
    with pytest.raises(UnknownServerError, match="postmaster 4194304"):
        Server.running(4_194_304, 15)


def test_a_denial_says_what_the_statement_was_taken_for():
    text = denial("shop", "r1", "No", "dba", recognised="DELETE hr.salaries")
    assert (
        text == b"shop (blocked by pgwarden: rule r1: No; recognised DELETE hr.salaries; ask dba)"
    )


def test_a_long_description_is_cut_and_leaves_room_for_the_contact():
    text = denial("shop", "r1", "No", "dba", recognised="DROP TABLE " + "a, " * 500)
    assert len(text) < 250
    assert text.endswith(b"...; ask dba)")
