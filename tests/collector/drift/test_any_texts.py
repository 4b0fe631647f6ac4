"""Whoever does whatever to an object in whatever order: each line is of who made it what it is, and
nobody else is named."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.collector.drift.story import cause_of, ran

ITEMS = {
    "rls": ("table", "hr.t"), "owner": ("table", "hr.t"), "column": ("table", "hr.t"),
    "security": ("function", "hr.f()"), "one": ("trigger", "hr.t.one"),
    "two": ("trigger", "hr.t.two"), "superuser": ("role", "r"), "createdb": ("role", "r"),
}  # fmt: skip
KEYS = {"rls": "row security", "one": "enabled", "two": "enabled", "column": "column k"}
BEGIN = {
    "rls": "on", "owner": "bob", "security": "", "one": "origin", "two": "origin",
    "superuser": "false", "createdb": "false", "column": "",
}  # fmt: skip
DOES = {
    "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY": {"rls": ""},
    "ALTER TABLE hr.t ENABLE ROW LEVEL SECURITY": {"rls": "on"},
    "ALTER TABLE hr.t OWNER TO etl": {"owner": "etl"},
    "SET a = 1; ALTER TABLE hr.t OWNER TO ada": {"owner": "ada"},
    "REASSIGN OWNED BY etl TO ada": {"owner": "ada"},
    "ALTER TABLE hr.t ADD COLUMN k int": {"column": "integer"},
    "ALTER FUNCTION hr.f() SECURITY DEFINER": {"security": "definer"},
    "ALTER FUNCTION hr.f() SECURITY INVOKER": {"security": ""},
    "ALTER TABLE hr.t DISABLE TRIGGER ALL": {"one": "disabled", "two": "disabled"},
    "ALTER TABLE hr.t ENABLE TRIGGER one": {"one": "origin"},
    "ALTER TABLE hr.t ENABLE ALWAYS TRIGGER two": {"two": "always"},
    "ALTER ROLE r SUPERUSER": {"superuser": "true"},
    "CREATE SCHEMA s; ALTER ROLE r SUPERUSER CREATEDB": {"superuser": "true", "createdb": "true"},
    "ALTER ROLE r NOSUPERUSER": {"superuser": "false"},
}
DECOYS = (
    "CREATE TEMP TABLE t (i int); ALTER TABLE t DISABLE ROW LEVEL SECURITY, OWNER TO ada",
    "ALTER TABLE hr.u DISABLE ROW LEVEL SECURITY; ALTER TABLE hr.t REPLICA IDENTITY FULL",
    "CREATE SCHEMA s; GRANT r TO x",
    "ALTER ROLE r CONNECTION LIMIT -1",
    "ALTER FUNCTION hr.f(integer) SECURITY DEFINER",
    "ALTER TABLE hr.t ENABLE TRIGGER three",
    "GRANT SELECT ON hr.t TO r",
)
PEOPLE = ("vera", "mona", "nina", "paul")
STEPS = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.sampled_from((*DOES, *DECOYS))), min_size=1, max_size=8
)


def value(kind, state):
    if kind == "role":
        return f"superuser={state['superuser']} createdb={state['createdb']}"
    lines = {"table": ("owner", "rls", "column"), "function": ("security",)}.get(kind, (kind,))
    said = [f"{KEYS.get(line, line)}: {state[line]}" for line in lines if state[line]]
    return "\n".join(["kind: it", *said])


def truth(steps):
    """What ran with an effect, or is a decoy; the state; and who made each value what it is."""
    state, did, ran_then = dict(BEGIN), {}, []
    for who, sql in steps:
        becomes = DOES.get(sql, {})
        if sql.startswith("REASSIGN") and state["owner"] != "etl":
            continue
        if any(state[line] == text for line, text in becomes.items()):
            continue  # of two who say it differently nobody can tell which one did nothing
        did |= {line: who for line, text in becomes.items() if state[line] != text}
        state |= becomes
        ran_then.append((who, sql))
    return ran_then, state, {line: did[line] for line in did if state[line] != BEGIN[line]}


CHAIN = [
    ("vera", "ALTER TABLE hr.t OWNER TO etl"), ("mona", "REASSIGN OWNED BY etl TO ada"),
    ("nina", "ALTER TABLE hr.t OWNER TO etl"), ("paul", "REASSIGN OWNED BY etl TO ada"),
]  # fmt: skip


GIVEN_BACK = [
    ("vera", "ALTER TABLE hr.t DISABLE ROW LEVEL SECURITY"),
    ("vera", "ALTER TABLE hr.t OWNER TO etl"), ("vera", "REASSIGN OWNED BY etl TO ada"),
    ("vera", "ALTER TABLE hr.t ADD COLUMN k int"), ("mona", "ALTER TABLE hr.t OWNER TO etl"),
]  # fmt: skip


@example(CHAIN)
@example(GIVEN_BACK)
@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_each_line_is_of_who_made_it_what_it_is_and_nobody_else_is_named(steps):
    ran_then, state, did = truth(steps)
    rows = [ran(10 + n, who, sql) for n, (who, sql) in enumerate(ran_then)]
    for kind, name in dict.fromkeys(ITEMS.values()):
        lines = {line for line in did if ITEMS[line] == (kind, name)}
        if not lines:
            continue
        short = name.rpartition(".")[2] if kind == "trigger" else kind
        found = cause_of(rows, kind, name, value(short, BEGIN), value(short, state))
        assert found is not None, (kind, ran_then)
        told = {line: found.by_line.get(KEYS.get(line, line), found.change).actor for line in lines}
        assert told == {line: did[line] for line in lines}, ran_then
        assert {other.actor for other in found.others} <= {*told.values()}, ran_then
