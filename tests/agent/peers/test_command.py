"""A command line on the record: what runs, and nothing that may be secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.peers.command import safe_command


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("psql", "psql"),
        ("/usr/bin/psql -U alice password=s3cret", "psql …"),
        ("psql postgresql://alice:s3cret@db/shop", "psql …"),
        ("python3.11 report.py", "python3.11 report.py"),
        ("python3 -u /srv/app/report.py --password s3cret", "python3 /srv/app/report.py …"),
        ("python3 -m mcp_server_postgres s3cret", "python3 -m mcp_server_postgres …"),
        ("python3 -c import_s3cret", "python3 …"),
        ("python3 -W s3cret report.py", "python3 …"),
        ("node --inspect=1 server.js s3cret", "node server.js …"),
        ("node --api-key s3cret server.js", "node …"),
        ("node -e s3cret", "node …"),
        ("npx -y @modelcontextprotocol/server-postgres postgresql://a:s3cret@h/d",
         "npx @modelcontextprotocol/server-postgres …"),
        ("npx server@1.2.3 s3cret", "npx server@1.2.3 …"),
        ("uvx run postgres-mcp --dsn s3cret", "uvx postgres-mcp …"),
        ("java -Xmx1g -Dpw=s3cret -cp s3cret.jar com.shop.Main s3cret", "java com.shop.Main …"),
        ("java -jar shop.jar", "java -jar shop.jar"),
        ("bash alice:s3cret@h", "bash …"),
        ("bash PGPASSWORD=s3cret", "bash …"),
        ("sh s3cret@host", "sh …"),
        ("-bash", "bash"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_program_and_its_script_are_kept_and_nothing_else(line, shown):
    assert safe_command(line.split()) == shown


def test_a_title_in_the_first_word_is_cut_to_the_program():
    assert safe_command(["npm exec server postgresql://a:s3cret@h/d"]) == "npm"
    assert safe_command(["postgres: app shop 10.0.0.7(4711) idle"]) == "postgres"
    assert safe_command(["PGPASSWORD=s3cret"], "/usr/bin/tool") == "tool"


@given(st.lists(st.text(max_size=20), max_size=5), st.sampled_from(["", "python3", "x", "node"]))
def test_what_stands_behind_the_script_is_never_shown(words, program):
    secret = "s3cret-7731"
    line = [program, "app.py", *words, secret, f"--password={secret}"]
    assert secret not in safe_command(line)
