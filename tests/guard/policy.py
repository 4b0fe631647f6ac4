"""The rules in force while the corpus is played."""

from pathlib import Path
from typing import Any

import yaml

from rules import DEFAULT_PACKS

FILE = Path(__file__).with_name("rules.yaml")
EXEMPT = ("keeper", "postgres")
"""Logins that set the stage and look at effects."""
KEPT_ALERTS = frozenset({"dynamic-code", "superuser-from-outside"})
"""Denied, they would stop at the door what is to be stopped further in."""


def write(folder: Path) -> Path:
    """The packs with alerts turned to deny, and the corpus's own rules; returns the folder."""
    own = yaml.safe_load(FILE.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for pack in sorted(DEFAULT_PACKS.glob("*.yaml")):
        document = yaml.load(pack.read_text(), Loader=yaml.CSafeLoader)
        (folder / pack.name).write_text(yaml.safe_dump(_strict(document), width=1000))
    (folder / "corpus.yaml").write_text(yaml.safe_dump(_strict(own), width=1000))
    return folder


def _strict(document: dict[str, Any]) -> dict[str, Any]:
    exempt = " && ".join(f"session.user != '{user}'" for user in EXEMPT)
    rules = []
    for rule in document["rules"]:
        keep = rule["action"] != "alert" or rule["id"] in KEPT_ALERTS
        action = rule["action"] if keep else "deny"
        rules.append(rule | {"action": action, "when": f"{exempt} && ({rule['when']})"})
    return document | {"rules": rules}
