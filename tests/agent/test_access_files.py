"""pg_hba.conf and pg_ident.conf, read from the host as the server reads them."""

import os
from pathlib import Path

import pytest

from agent.catalog.access_files import AccessFiles
from agent.catalog.host_files import MAX_BYTES, HostFiles, UnreadError
from agent.catalog.items import hba, ident


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def files(root: Path, major: int = 15) -> AccessFiles:
    return AccessFiles(HostFiles(root, root / "data"), major)


def rules(root: Path, text: str, major: int = 15) -> dict[str, str]:
    (root / "pg_hba.conf").write_text(text)
    items = hba(files(root, major).hba("/pg_hba.conf"))
    return {item.name: item.value for item in items}


def maps(root: Path, text: str, major: int = 15) -> dict[str, str]:
    (root / "pg_ident.conf").write_text(text)
    return {each.name: each.value for each in ident(files(root, major).ident("/pg_ident.conf"))}


def test_a_rule_reads_as_the_server_shows_it(root):
    assert rules(
        root,
        "# comment\n"
        "local  all  postgres  peer map=m\n"
        'host "my db",shop  +staff,"odd ""name"  10.0.0.5/8  scram-sha-256 # why\n'
        "host all all ::1/128 trust\n"
        "hostssl all all 10.1.2.3 255.255.0.0 cert\n"
        "host all all db.example.com md5\n",
    ) == {
        "local all postgres": "peer map=m",
        'host my db,shop +staff,odd "name 10.0.0.5/255.0.0.0': "scram-sha-256",
        "host all all ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "trust",
        "hostssl all all 10.1.2.3/255.255.0.0": "cert clientcert=verify-full",
        "host all all db.example.com": "md5",
        "(order)": "local all postgres > host my db,shop +staff,odd \"name 10.0.0.5/255.0.0.0 > "
        "host all all ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff > "
        "hostssl all all 10.1.2.3/255.255.0.0 > host all all db.example.com",
    }  # fmt: skip


def test_a_password_in_a_rule_stays_on_the_host(root):
    told = rules(root, "host all all all ldap ldapserver=l ldapbindpasswd=canary-5ecret\n")
    assert "canary-5ecret" not in repr(told)
    assert "ldapbindpasswd=hidden" in told["host all all all"]


def test_a_line_that_is_no_rule_is_an_error_and_not_left_out(root):
    told = rules(root, "host all\nhots all all all trust\nlocal all all\n")
    assert [value.split(":")[0] for name, value in told.items() if name != "(order)"] == [
        "error"
    ] * 3


@pytest.mark.parametrize(("major", "name"), [(13, "local all,\\"), (14, "local all,shop all")])
def test_a_backslash_goes_on_with_the_next_line_since_14(root, major, name):
    told = rules(root, "local all,\\\nshop all trust\n", major)
    assert any(each.startswith(name) for each in told) or major == 13


def test_names_of_a_file_stand_where_it_is_named(root):
    (root / "admins").write_text("alice, bob\ncarol @more\n")
    (root / "more").write_text("dave\n")
    assert "local all alice,bob,carol,dave" in rules(root, "local all @admins trust\n")
    assert 'local all @admins' in rules(root, 'local all "@admins" trust\n')  # fmt: skip


def test_included_files_are_read_since_16(root):
    (root / "more.conf").write_text("local all bob trust\n")
    (root / "folder").mkdir()
    (root / "folder" / "b.conf").write_text("local all b trust\n")
    (root / "folder" / "a.conf").write_text("local all a trust\n")
    (root / "folder" / ".c.conf").write_text("local all c trust\n")
    text = "include more.conf\ninclude_if_exists none.conf\ninclude_dir folder\n"
    assert list(rules(root, text, 16))[:-1] == [f"local all {who}" for who in ("bob", "a", "b")]


@pytest.mark.parametrize(
    "text", ["include none.conf\n", "include pg_hba.conf\n", "local all @none trust\n"]
)
def test_what_cannot_be_read_in_full_is_unread(root, text):
    with pytest.raises(UnreadError):
        rules(root, text, 16)


def test_maps_say_who_may_be_whom(root):
    assert maps(root, 'm root pgwarden\nm "/^(.*)@x y$" \\1\nm root pgwarden\nbroken\n') == {
        "m root pgwarden": "allowed",
        'm "/^(.*)@x y$" \\1': "allowed",
        "m root pgwarden #2": "allowed",
        "line 4": "error: missing entry at end of line",
    }


def test_an_absolute_link_leads_within_the_servers_own_root(root):
    (root / "etc").mkdir()
    (root / "etc" / "real.conf").write_text("m a b\n")
    (root / "pg_ident.conf").symlink_to("/etc/real.conf")
    assert files(root).ident("/pg_ident.conf")[0]["map"] == "m"
    (root / "loop").symlink_to("/loop")
    with pytest.raises(UnreadError, match="links"):
        files(root).ident("/loop")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could read it")
def test_a_file_that_the_server_itself_cannot_read_is_not_read_for_it(root):
    """Whoever may set hba_file must not learn what root can read."""
    os.chown(root / "data", 12345, 12345)
    secret = root / "shadow"
    secret.write_text("root canary-5ecret x\n")
    secret.chmod(0o640)
    with pytest.raises(UnreadError, match="not the server's to read"):
        files(root).ident("/shadow")
    os.chown(secret, 0, 12345)
    assert files(root).ident("/shadow")


def test_pipes_folders_and_giants_are_not_read(root):
    os.mkfifo(root / "pipe")
    (root / "giant").write_bytes(b"#" * (MAX_BYTES + 1))
    for path in ("/pipe", "/data", "/giant", "relative", "/none"):
        with pytest.raises(UnreadError):
            files(root).ident(path)
