"""Rows of the catalog queries as items: how a fact is named, and what counts as its value."""

from agent.catalog.items.access import ORDER, hba, ident
from agent.catalog.items.objects import TornError, objects, text_hash
from agent.catalog.items.privileges import privileges
from agent.catalog.items.roles import memberships, role
from agent.catalog.items.secrets import hidden
from agent.catalog.items.settings import amount, file_errors, recovery, role_setting, setting

__all__ = [
    "ORDER",
    "TornError",
    "amount",
    "file_errors",
    "hba",
    "hidden",
    "ident",
    "memberships",
    "objects",
    "privileges",
    "recovery",
    "role",
    "role_setting",
    "setting",
    "text_hash",
]
