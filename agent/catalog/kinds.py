"""How each kind of the catalog is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.catalog import items
from agent.catalog.access_files import AccessFiles
from agent.catalog.host_files import UnreadError
from agent.catalog.items.secrets import digest
from agent.catalog.items.server_value import in_own_file, of_server
from agent.catalog.reading import LackError, Reading, Row, setting_of
from model.catalog import CatalogItem, CatalogKind

Reader = Callable[[Reading], Sequence[CatalogItem]]
IDENT_SHOWN_SINCE = 15


def settings(reading: Reading) -> list[CatalogItem]:
    wrong_lines = _file_errors(reading)
    reading.require("settings")
    of_server = (items.setting(row) for row in _server_rows(reading))
    of_roles = (items.role_setting(row) for row in reading.rows("role_settings"))
    [state] = reading.rows("recovery")
    own = (item for item in of_server if item)
    return [*own, *of_roles, *wrong_lines, *items.recovery(state)]


def _server_rows(reading: Reading) -> list[Row]:
    rows = reading.rows("settings")
    own = [row["name"] for row in rows if row["own"]]
    if not reading.may("file_errors"):
        if not own:
            return rows
        reading.notes.append(
            f"{', '.join(own[:5])} of {{place}} may be read as ALTER ROLE or ALTER DATABASE set it "
            "for our sessions (permission denied); " + reading.remedy("file_errors")
        )
        return rows
    in_files = {row["name"]: row for row in reading.rows("file_settings")}
    as_for_all = [dict(of_server(row, in_files)) if row["own"] else row for row in rows]
    return [{**row, "line": in_own_file(row, in_files)} for row in as_for_all]


def _file_errors(reading: Reading) -> list[CatalogItem]:
    if reading.may("file_errors"):
        return items.file_errors(reading.rows("file_errors"))
    reading.notes.append(
        "errors in the configuration files of {place} are not read (permission denied); "
        + reading.remedy("file_errors")
    )
    return []


def hba(reading: Reading) -> list[CatalogItem]:
    if reading.may("hba"):
        return items.hba(reading.rows("hba"))
    remedy = reading.remedy("hba")
    return items.hba(_of_file(reading, "hba_file", "permission denied", remedy))


def ident(reading: Reading) -> list[CatalogItem]:
    if reading.may("ident"):
        return items.ident(reading.rows("ident"))
    if reading.major >= IDENT_SHOWN_SINCE:
        why, remedy = "permission denied", reading.remedy("ident")
    else:
        why = f"PostgreSQL {reading.major} does not show it"
        remedy = "let the agent run on the server's host, as root or as the server's account"
    return items.ident(_of_file(reading, "ident_file", why, remedy))


def _of_file(reading: Reading, setting: str, why: str, remedy: str) -> list[Row]:
    """The rows of a file of the host, where we are there and may read it. Raises LackError."""
    path = setting_of(reading.rows("files"), setting)
    if reading.files is None or not path:
        raise LackError(why, remedy)
    files = AccessFiles(reading.files, reading.major)
    try:
        return files.hba(path) if setting == "hba_file" else files.ident(path)
    except UnreadError as error:
        raise LackError(f"{why}, and the file is unread: {error}", remedy) from error


def privileges(reading: Reading) -> list[CatalogItem]:
    of_cluster = reading.rows("privileges_cluster") if reading.home else []
    granted = [*reading.rows("privileges"), *reading.rows("default_privileges")]
    return [*items.privileges(of_cluster, ""), *items.privileges(granted, reading.database)]


def tables(reading: Reading) -> list[CatalogItem]:
    rows = reading.rows("tables")
    texts = reading.spelled("views", [row["view"] for row in rows if row["view"]])
    for row in rows:
        if row["view"]:
            row["definition"] = texts.get(row["view"])
    return items.objects(CatalogKind.TABLE, reading.database, rows)


def functions(reading: Reading) -> list[CatalogItem]:
    rows = reading.rows("functions", bodies=reading.bodies)
    oids = [row["parsed"] for row in rows if row["parsed"]]
    texts = reading.spelled("function_bodies", oids) if oids else {}
    for row in rows:
        if row["parsed"]:
            text = texts.get(row["parsed"])
            row["lines"][-1] = text and f"body: {items.text_hash(text)}"
            row["body"] = text if reading.bodies else ""
    return items.objects(CatalogKind.FUNCTION, reading.database, rows)


def schemas(reading: Reading) -> list[CatalogItem]:
    """With a line for each of the objects in them that are no items of their own."""
    rows = {row["name"]: row for row in reading.rows("schemas")}
    # Sorted here: each database of a server may have an order of its own.
    for each in sorted(reading.rows("in_schemas"), key=lambda row: str(row["line"])):
        if each["schema"] in rows:  # not in one that an extension tells of
            rows[each["schema"]]["lines"].append(each["line"])
    return items.objects(CatalogKind.SCHEMA, reading.database, list(rows.values()))


def extensions(reading: Reading) -> list[CatalogItem]:
    """With their members: what somebody put into one is left out elsewhere."""
    rows = {row["name"]: row for row in reading.rows("extensions")}
    # Sorted here: each database of a server may have an order of its own.
    members = sorted(reading.rows("extension_members"), key=lambda member: str(member["line"]))
    for member in members:
        rows[member["extension"]]["lines"].append(member["line"])
    return items.objects(CatalogKind.EXTENSION, reading.database, list(rows.values()))


def user_mappings(reading: Reading) -> list[CatalogItem]:
    rows = reading.rows("user_mappings")
    if rows and reading.may("user_mappings"):
        rows = reading.rows("user_mapping_options")
        for row in rows:
            row["options"] = [_hashed(each) for each in row["options"]]
    elif rows:
        reading.notes.append(
            "options of user mappings of {place} are not read (permission denied); "
            + reading.remedy("user_mappings")
        )
        for row in rows:
            row["lines"] = ["foreign options: unread"]
    return items.objects(CatalogKind.USER_MAPPING, reading.database, rows)


def _hashed(option: str) -> str:
    name, _, value = option.partition("=")
    return option if name == "user" else f"{name}={digest(name, value)}"


def subscriptions(reading: Reading) -> list[CatalogItem]:
    rows = reading.rows("subscriptions")
    connections: dict[str, str] = {}
    if rows and reading.may("subscriptions"):
        for row in reading.rows("subscription_connections"):
            connections[row["name"]] = digest("conninfo", row["connection"])
    elif rows:
        reading.notes.append(
            "the connections of subscriptions of {place} are not read (permission denied); "
            + reading.remedy("subscriptions")
        )
    for row in rows:
        row["lines"].append(f"connection: {connections.get(row['name'], 'unread')}")
    return items.objects(CatalogKind.SUBSCRIPTION, reading.database, rows)


def databases(reading: Reading) -> list[CatalogItem]:
    """Renamed, one keeps its number; another cluster has other databases by the same numbers."""
    rows = reading.rows("database_facts")
    if reading.may("control"):
        [system] = reading.rows("system")
        for row in rows:
            row["detail"] += f" of cluster {system['identifier']}"
    return items.objects(CatalogKind.DATABASE, "", rows)


def _objects(
    kind: CatalogKind, query: str, *, of_cluster: bool = False
) -> tuple[CatalogKind, Reader]:
    def read(reading: Reading) -> list[CatalogItem]:
        return items.objects(kind, "" if of_cluster else reading.database, reading.rows(query))

    return kind, read


# Settings first: what the transaction sets for the others would be read as theirs.
CLUSTER_WIDE: tuple[tuple[CatalogKind, Reader], ...] = (
    (CatalogKind.SETTING, settings),
    (CatalogKind.HBA, hba),
    (CatalogKind.IDENT, ident),
    (CatalogKind.ROLE, lambda reading: [items.role(row) for row in reading.rows("roles")]),
    (CatalogKind.MEMBERSHIP, lambda reading: items.memberships(reading.rows("memberships"))),
    (CatalogKind.DATABASE, databases),
    _objects(CatalogKind.TABLESPACE, "tablespaces", of_cluster=True),
    _objects(CatalogKind.SLOT, "slots", of_cluster=True),
)
IN_DATABASE: tuple[tuple[CatalogKind, Reader], ...] = (
    (CatalogKind.PRIVILEGE, privileges),
    (CatalogKind.SCHEMA, schemas),
    (CatalogKind.TABLE, tables),
    _objects(CatalogKind.SEQUENCE, "sequences"),
    (CatalogKind.FUNCTION, functions),
    _objects(CatalogKind.TYPE, "types"),
    _objects(CatalogKind.CAST, "casts"),
    _objects(CatalogKind.OPERATOR, "operators"),
    _objects(CatalogKind.POLICY, "policies"),
    _objects(CatalogKind.TRIGGER, "triggers"),
    _objects(CatalogKind.EVENT_TRIGGER, "event_triggers"),
    (CatalogKind.EXTENSION, extensions),
    _objects(CatalogKind.LANGUAGE, "languages"),
    _objects(CatalogKind.FOREIGN_SERVER, "foreign_servers"),
    (CatalogKind.USER_MAPPING, user_mappings),
    _objects(CatalogKind.PUBLICATION, "publications"),
    (CatalogKind.SUBSCRIPTION, subscriptions),
)
