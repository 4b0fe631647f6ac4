"""Keys of lines that snapshots tell of each kind: a slip of the pen would be missing for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from model.catalog import CatalogKind


class Keys(NamedTuple):
    whole: str
    """Separated by commas."""
    named: str = ""
    """Those that a name follows: ``column id``."""


_MEMBERS = (
    "member function,member sequence,member table,member type,member event_trigger,member schema,"
    "member language,member foreign_server"
)
KEYS: Mapping[CatalogKind, Keys] = {
    CatalogKind.DATABASE: Keys(
        "owner,encoding,collate,ctype,locale,provider,tablespace,template,connection limit,"
        "allow connections"
    ),
    CatalogKind.TABLESPACE: Keys("owner,location,options"),
    CatalogKind.SLOT: Keys("type,plugin,database,two phase,failover"),
    CatalogKind.SCHEMA: Keys(
        "owner,built-in functions,built-in relations,built-in casts,built-in operators",
        "collation,conversion,operator class,operator family,text search configuration,"
        "text search dictionary,text search parser,text search template",
    ),
    CatalogKind.TABLE: Keys(
        "owner,kind,persistence,access method,tablespace,options,replica identity,row security,"
        "partition of,partition by,inherits,server,foreign options,definition,text",
        "column,constraint,index,rule",
    ),
    CatalogKind.SEQUENCE: Keys(
        "owner,type,start,increment,minimum,maximum,cache,cycle,owned by,persistence"
    ),
    CatalogKind.FUNCTION: Keys(
        "owner,language,kind,returns,arguments,security,volatility,leakproof,strict,parallel,body,"
        "text",
        "set",
    ),
    CatalogKind.TYPE: Keys(
        "owner,kind,labels,not null,default,subtype,input,output,base", "column,constraint"
    ),
    CatalogKind.CAST: Keys("context,way"),
    CatalogKind.OPERATOR: Keys(
        "owner,function,returns,commutator,negator,restrict,join,hashes,merges"
    ),
    CatalogKind.POLICY: Keys("kind,command,roles,using,check"),
    CatalogKind.TRIGGER: Keys("enabled,function,definition,from"),
    CatalogKind.EVENT_TRIGGER: Keys("owner,event,function,enabled,tags"),
    CatalogKind.EXTENSION: Keys("owner,schema,version,trusted,other members", _MEMBERS),
    CatalogKind.LANGUAGE: Keys("owner,trusted,handler,inline,validator"),
    CatalogKind.FOREIGN_SERVER: Keys(
        "owner,wrapper,type,version,handler,validator,foreign options"
    ),
    CatalogKind.USER_MAPPING: Keys("foreign options"),
    CatalogKind.PUBLICATION: Keys(
        "owner,operations,all tables,via root,generated columns", "table,schema"
    ),
    CatalogKind.SUBSCRIPTION: Keys(
        "owner,enabled,connection,slot,publications,synchronous commit,"
        "disable on error,origin,password required,run as owner,failover"
    ),
}
"""Rows of watched tables are not here: their keys are columns."""
_DIGEST = "digest"
"""In front of a value that is very long."""


def key_mistakes(kind: CatalogKind, key: str) -> Iterator[str]:
    """A sentence where no snapshot has such a line."""
    known = KEYS.get(kind)
    if known is None or key == _DIGEST:
        return
    whole, named = known.whole.split(","), [*filter(None, known.named.split(","))]
    if key in whole or any(key.startswith(f"{word} ") and key != f"{word} " for word in named):
        return
    shown = [*whole, *(f"{word} NAME" for word in named)]
    meant = get_close_matches(key, whole, 1) or _begun(key, named)
    hint = f"did you mean {meant[0]!r}?" if meant else f"there are {', '.join(shown)}"
    yield f"unknown line {key!r}; {hint}"


def _begun(key: str, named: list[str]) -> list[str]:
    """``colum id`` is ``column id``."""
    for count in (1, 2, 3):
        words = key.split(" ")
        begin, rest = " ".join(words[:count]), " ".join(words[count:])
        if rest and (close := get_close_matches(begin, named, 1)):
            return [f"{close[0]} {rest}"]
    return []
