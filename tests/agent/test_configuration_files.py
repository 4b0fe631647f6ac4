"""Which files say how a server is configured, found as the server finds them."""

from pathlib import Path

import pytest

from agent.catalog.configuration_files import folders_of
from agent.catalog.host_files import ANY_NAME, HostFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "etc").mkdir()
    return tmp_path


NAMED = {
    "config_file": "/etc/postgresql.conf",
    "hba_file": "/etc/pg_hba.conf",
    "ident_file": "/etc/pg_ident.conf",
}


def found(root: Path, named=NAMED, major: int = 16) -> dict[str, set[str]]:
    folders = folders_of(HostFiles(root, root / "data"), major, named)
    return {f"/{folder.relative_to(root)}": set(names) for folder, names in folders.items()}


def test_files_that_the_server_names_count_also_while_they_are_not_there(root):
    assert found(root) == {
        "/data": {"postgresql.auto.conf"},
        "/etc": {"postgresql.conf", "pg_hba.conf", "pg_ident.conf"},
    }


def test_a_server_that_names_none_has_them_in_its_data_directory(root):
    assert found(root, {}) == {
        "/data": {"postgresql.auto.conf", "postgresql.conf", "pg_hba.conf", "pg_ident.conf"}
    }


def test_what_a_file_includes_counts_and_of_a_folder_any_file(root):
    (root / "etc/postgresql.conf").write_text(
        "# include 'no.conf'\n"
        "shared_buffers = 1GB # include 'nor.conf'\n"
        "include 'more/one.conf'\n"
        "Include_If_Exists = '/srv/it''s.conf'  # why\n"
        "include_dir 'conf.d'\n"
    )
    (root / "etc/more").mkdir()
    (root / "etc/more/one.conf").write_text("include two.conf\ninclude '../postgresql.conf'\n")
    (root / "etc/conf.d").mkdir()
    (root / "etc/conf.d/a.conf").write_text("include 'x/b.conf'\n")
    (root / "etc/conf.d/.hidden.conf").write_text("include 'hidden/b.conf'\n")
    assert found(root) == {
        "/data": {"postgresql.auto.conf"},
        "/etc": {"postgresql.conf", "pg_hba.conf", "pg_ident.conf", "conf.d"},
        "/etc/more": {"one.conf", "two.conf"},
        "/srv": {"it's.conf"},
        "/etc/conf.d": {ANY_NAME, "a.conf"},
        "/etc/conf.d/x": {"b.conf"},
    }


def test_files_of_rules_may_include_others_and_lists_of_names(root):
    (root / "etc/pg_hba.conf").write_text("local @dbs/names all trust\ninclude_dir rules\n")
    (root / "etc/dbs").mkdir()
    (root / "etc/dbs/names").write_text("shop\n")
    (root / "etc/rules").mkdir()
    told = found(root)
    assert told["/etc/dbs"] == {"names"}
    assert ANY_NAME in told["/etc/rules"]


def test_of_a_link_both_ends_count_and_an_absolute_one_stays_in_the_servers_root(root):
    (root / "srv/v1").mkdir(parents=True)
    (root / "srv/v1/postgresql.conf").write_text("")
    (root / "srv/now").symlink_to("v1")
    (root / "etc/postgresql.conf").symlink_to("/srv/now/postgresql.conf")
    told = found(root)
    assert "postgresql.conf" in told["/etc"]
    assert told["/srv"] == {"now"}
    assert told["/srv/v1"] == {"postgresql.conf"}


def test_files_that_include_one_another_without_end_come_to_an_end(root):
    (root / "etc/postgresql.conf").write_text("include 'a.conf'\n")
    (root / "etc/a.conf").write_text("include 'postgresql.conf'\ninclude 'a.conf'\n")
    assert found(root)["/etc"] >= {"postgresql.conf", "a.conf"}
