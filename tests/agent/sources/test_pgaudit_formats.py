"""The three log formats: whole, split at every byte, damaged."""

import json
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.pgaudit.audit import AuditError, parse_audit
from agent.sources.pgaudit.csvlog import CsvlogParser
from agent.sources.pgaudit.jsonlog import JsonlogParser
from agent.sources.pgaudit.records import LogClock, LogRecord
from agent.sources.pgaudit.stderr import PrefixError, StderrParser, compile_prefix

AT_NS = 1_795_439_658_702_000_000
PREFIX = "%m [%p] %q%u@%d %a %h %c %l "
APP = 'a, "b" app'
TEXTS = [
    b"select 1",
    b"select *\nfrom t\twhere v='a,\"b\"\ttab'\n\n\tx",
    b"select '\xff\xfe', '\xc3\xa9'",
    b"create table public.t(id int, v text)",
    b'select \'\r\n2026-11-23 13:14:18.702 UTC,"postgres","postgres",1,"[local]",6b043c2a.1,1\'',
    b"select 'AUDIT: SESSION,1,1,READ,SELECT,,,x,<none>'",
]


def quoted(field, always=False):
    if always or any(byte in field for byte in b',"\n\r'):
        return b'"' + field.replace(b'"', b'""') + b'"'
    return field


def audit_message(text, number=1):
    return b"AUDIT: SESSION,%d,1,READ,SELECT,TABLE,public.t,%s,<none>" % (number, quoted(text))


def csv_record(message, columns=26):
    fields = [
        b"2026-11-23 13:14:18.702 UTC", b'"postgres"', b'"shop"', b"9309", b'"127.0.0.1:34024"',
        b"6b043c2a.245d", b"1", b'"SELECT"', b"2026-11-23 13:14:18 UTC", b"3/2", b"724", b"LOG",
        b"00000", quoted(message, always=True), *[b""] * 8, quoted(APP.encode(), always=True),
        b'"client backend"', b"", b"0",
    ]  # fmt: skip
    return b",".join(fields[:columns]) + b"\n"


def json_record(message):
    record = {
        "timestamp": "2026-11-23 13:14:18.702 UTC", "user": "postgres", "dbname": "shop",
        "pid": 9309, "remote_host": "127.0.0.1", "remote_port": 34024,
        "session_id": "6b043c2a.245d", "error_severity": "LOG",
        "message": message.decode("utf-8", "surrogateescape"), "application_name": APP,
    }  # fmt: skip
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


def stderr_record(message):
    head = f"2026-11-23 13:14:18.702 UTC [9309] postgres@shop {APP} 127.0.0.1 6b043c2a.245d 1 "
    return head.encode() + b"LOG:  " + message.replace(b"\n", b"\n\t") + b"\n"


FORMATS = {
    "csvlog": (csv_record, lambda **more: CsvlogParser(LogClock(), **more)),
    "jsonlog": (json_record, lambda **more: JsonlogParser(LogClock(), **more)),
    "stderr": (stderr_record, lambda **more: StderrParser(LogClock(), PREFIX, **more)),
}
each_format = pytest.mark.parametrize(("write", "parser"), FORMATS.values(), ids=FORMATS)


def expected(text, end=0, number=1):
    return LogRecord(
        AT_NS, 9309, 0x6B043C2A, "postgres", "shop", APP, "127.0.0.1",
        audit_message(text, number), end,
    )  # fmt: skip


def written(write, texts=TEXTS):
    data, records = b"", []
    for number, text in enumerate(texts):
        data += write(audit_message(text, number))
        records.append(expected(text, len(data), number))
        data += write(b'something else, multi\nline "quoted"')
    return data, records


@each_format
def test_a_whole_log_gives_its_audit_records(write, parser):
    data, records = written(write)
    log = parser()
    assert log.feed(data) == records
    assert log.end == len(data)
    assert not log.skipped


@each_format
def test_every_split_gives_the_same_records(write, parser):
    data, records = written(write)
    for cut in range(len(data)):
        log = parser()
        assert log.feed(data[:cut]) + log.feed(data[cut:]) == records
    log = parser()
    assert [r for byte in data for r in log.feed(bytes([byte]))] == records


@each_format
def test_going_on_from_any_records_end_gives_the_rest(write, parser):
    data, records = written(write)
    for index, record in enumerate(records):
        rest = parser().feed(data[record.end :])
        assert [r.message for r in rest] == [r.message for r in records[index + 1 :]]


@each_format
@given(data=st.data())
def test_damage_costs_at_most_the_neighbouring_records_and_never_forges_one(write, parser, data):
    whole, records = written(write, [b"select %d, '\n,\"x\"'" % n for n in range(6)])
    at = data.draw(st.integers(0, len(whole) - 1))
    size = data.draw(st.integers(1, 40))
    junk = data.draw(st.binary(max_size=20))
    log = parser()
    got = log.feed(whole[:at] + junk + whole[at + size :])
    log.finish()
    untouched = {r.message for r in records if r.end <= at or r.end - 400 > at + size}
    assert sum(m in {r.message for r in got} for m in untouched) >= len(untouched) - 1
    assert len(got) <= len(records) + 1


@each_format
@given(junk=st.binary(max_size=300))
def test_junk_never_raises_and_does_not_hide_what_follows(write, parser, junk):
    log = parser()
    log.feed(junk + b"\n")
    got = log.feed(written(write)[0] * 2)
    assert len(got) >= len(TEXTS)


@each_format
def test_a_record_of_ten_megabytes_is_cut_and_counted(write, parser):
    huge = b"select '" + b'x"y, and so on, and so on, and so on, and so on;\n' * 200_000 + b"'"
    log = parser(max_record_bytes=1 << 16)
    data = write(audit_message(huge)) + write(audit_message(b"select 2", 2))
    got = [r for at in range(0, len(data), 1 << 18) for r in log.feed(data[at : at + (1 << 18)])]
    assert len(got) == 2
    assert log.skipped == {"record_cut": 1}
    event = parse_audit(got[0], "main")
    assert huge.decode().startswith(event.text) is True
    assert (event.object_name, len(event.text) > 30_000) == ("public.t", True)
    assert parse_audit(got[1], "main").text == "select 2"
    assert got[1].end == len(data)


@each_format
def test_a_cut_text_is_told_with_about_its_length(write, parser):
    log = parser(max_record_bytes=1 << 16)
    text = b"select '" + b"x" * 100_000 + b"'"
    event = parse_audit(log.feed(write(audit_message(text)))[0], "main")
    assert 0 <= len(event.text) + event.missing_bytes - len(text) < 200


@each_format
def test_what_is_cut_behind_a_text_is_not_missing_of_it(write, parser):
    log = parser(max_record_bytes=1 << 16)
    message = audit_message(b"select $1").replace(b"<none>", quoted(b"a," * 50_000))
    event = parse_audit(log.feed(write(message))[0], "main")
    assert (event.text, event.missing_bytes) == ("select $1", 0)
    assert log.skipped == {"record_cut": 1}


@each_format
def test_a_half_record_at_the_end_of_a_file_is_counted(write, parser):
    log = parser()
    log.feed(write(audit_message(b"select 1"))[:-20])
    log.finish()
    assert log.skipped == {"half_record_at_end": 1}


@pytest.mark.parametrize("columns", [23, 24, 26])
def test_csvlog_of_every_version_is_read(columns):
    (record,) = CsvlogParser(LogClock()).feed(csv_record(audit_message(b"select 1"), columns))
    assert record.application_name == APP


def test_csvlog_with_an_unknown_number_of_columns_is_counted():
    log = CsvlogParser(LogClock())
    assert log.feed(csv_record(audit_message(b"select 1"), 20)) == []
    assert log.skipped == {"unknown_columns": 1}


def test_csvlog_read_from_the_middle_of_a_record_goes_on_with_the_next():
    data = csv_record(audit_message(TEXTS[4])) + csv_record(audit_message(b"select 2"))
    for start in range(1, len(csv_record(audit_message(TEXTS[4])))):
        (record,) = CsvlogParser(LogClock(), resume=True).feed(data[start:])
        assert record.message == audit_message(b"select 2")


def test_csvlog_cut_by_a_crash_costs_that_record_alone():
    half = csv_record(audit_message(TEXTS[1]))[:-60]
    log = CsvlogParser(LogClock())
    got = log.feed(half + b"\n" + csv_record(audit_message(b"select 2")))
    assert [r.message for r in got] == [audit_message(b"select 2")]
    assert log.skipped == {"damaged_record": 1}


@pytest.mark.parametrize(
    ("prefix", "head"),
    [
        ("%m [%p] %q%u@%d ", "2026-11-23 13:14:18.702 UTC [9309] postgres@shop "),
        ("%n %c ", "1795439658.702 6b043c2a.245d "),
        ("%t:%r:%u@%d:[%p]:", "2026-11-23 13:14:18 UTC:127.0.0.1(3402):postgres@shop:[9309]:"),
        ("%-10u|%10d|%p|%e|%x|%v|%i|%b|%Q|%P|%L%% ",
         "postgres  |      shop|9309|00000|0|3/2|SELECT|client backend|-3||::1% "),
        ("user=%u,db=%d,app=%a,client=%h %p %s ",
         "user=postgres,db=shop,app=[unknown],client=[local] 9309 2026-11-23 13:14:18 UTC "),
    ],
)  # fmt: skip
def test_log_line_prefixes_are_understood(prefix, head):
    log = StderrParser(LogClock(), prefix)
    for severity in ("LOG:  ", "WARNING:  ", "LOG:  00000: "):
        (record,) = log.feed(head.encode() + severity.encode() + audit_message(b"x") + b"\n")
        assert record.pid == 9309
        assert record.message == audit_message(b"x")
        assert record.user in ("postgres", "")
        assert record.database in ("shop", "")
        assert record.at_ns in (0, AT_NS, AT_NS // 10**9 * 10**9)
        assert record.precision_ns == (10**9 if prefix.startswith("%t") else 10**6)
    assert not log.skipped


def test_a_time_in_milliseconds_may_be_a_whole_second():
    log = StderrParser(LogClock(), "%m [%p] ")
    (record,) = log.feed(b"2026-11-23 13:14:18.000 UTC [9] LOG:  " + audit_message(b"x") + b"\n")
    assert (record.at_ns, record.precision_ns) == (AT_NS // 10**9 * 10**9, 10**6)


def test_a_prefix_without_a_backend_is_refused_with_the_remedy():
    with pytest.raises(PrefixError, match="ALTER SYSTEM SET log_line_prefix"):
        compile_prefix("%m %u ")


def test_lines_written_with_another_prefix_are_counted():
    log = StderrParser(LogClock(), "%m [%p] ")
    assert log.feed(b"[9309] LOG:  " + audit_message(b"x") + b"\n") == []
    assert log.skipped == {"prefix_does_not_match": 1}


def test_a_statement_that_quotes_an_audit_line_is_no_record():
    log = StderrParser(LogClock(), "[%p] ")
    assert log.feed(b"[1] STATEMENT:  select 'AUDIT: SESSION'\n\tAUDIT: SESSION,1,1\n") == []
    assert not log.skipped


@pytest.mark.parametrize(
    ("text", "zone", "seconds"),
    [
        ("2026-11-23 13:14:18 UTC", UTC, 1_795_439_658),
        ("2026-11-23 14:14:18 CET", ZoneInfo("Europe/Berlin"), 1_795_439_658),
        ("2026-11-23 18:44:18 +0530", UTC, 1_795_439_658),
        ("2026-11-23 10:14:18 -03", UTC, 1_795_439_658),
        ("2026-10-25 02:30:00 CEST", ZoneInfo("Europe/Berlin"), 1_792_888_200),
        ("2026-10-25 02:30:00 CET", ZoneInfo("Europe/Berlin"), 1_792_891_800),
        ("2026-02-31 02:30:00 CET", UTC, 0),
        ("yesterday", UTC, 0),
    ],
)
def test_log_times_are_read_in_the_servers_zone(text, zone, seconds):
    clock = LogClock(zone)
    for _ in range(2):
        assert clock.parse_ns(text) == seconds * 10**9
        with_fraction = text[:19] + ".345" + text[19:]
        assert clock.parse_ns(with_fraction) == (seconds * 10**9 + 345_000_000 if seconds else 0)


@pytest.mark.parametrize("fraction", ["70\u00b2", "7x2", "   ", "\u0661\u0662\u0663"])
def test_a_fraction_that_is_no_number_is_no_time_whatever_was_read_before(fraction):
    clock = LogClock()
    assert clock.parse_ns("2026-11-23 13:14:18.702 UTC")
    assert clock.parse_ns(f"2026-11-23 13:14:18.{fraction} UTC") == 0


def record_of(message):
    return LogRecord(AT_NS, 1, 2, "u", "d", "a", "local", message, 0)


def test_an_audit_message_becomes_an_event():
    event = parse_audit(
        record_of(b'AUDIT: OBJECT,3,2,READ,SELECT,TABLE,"public.""T,x""","a ""b""","1,\xff",5'),
        "main",
    )
    assert (event.audit_type, event.statement_id, event.substatement_id) == ("OBJECT", 3, 2)
    assert (event.object_name, event.text) == ('public."T,x"', 'a "b"')
    assert event.parameters == "1,\udcff"
    assert event.backend.started_at_us == 2_000_000


@pytest.mark.parametrize(
    "message",
    [
        b"AUDIT: ",
        b"AUDIT: failed, says the application",
        b"AUDIT: SESSION,x,1,READ,SELECT,,,a,<none>",
        b"AUDIT: SESSION,1,1,READ,SELECT,,",
        b'AUDIT: SESSION,1,1,READ,SELECT,,,"a"b,<none>',
    ],
)
def test_what_only_looks_like_an_audit_message_is_refused(message):
    with pytest.raises(AuditError):
        parse_audit(record_of(message), "main")


@given(st.binary(max_size=200))
def test_any_audit_message_is_parsed_or_refused(junk):
    for message in (b"AUDIT: " + junk, b"AUDIT: SESSION,1,1,READ,SELECT,,," + junk):
        try:
            parse_audit(record_of(message), "main")
        except AuditError:
            continue


@given(st.binary(max_size=300).filter(lambda b: b"\0" not in b))
def test_any_text_comes_back_byte_for_byte(text):
    event = parse_audit(record_of(audit_message(text)), "main")
    assert event.text.encode("utf-8", "surrogateescape") == text
