"""Files and environment to a checked ``Config``; every error names its place and the remedy."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from config.schema import Config

ENVIRONMENT_PREFIX = "PGWARDEN_"
NESTING = "__"
FILE_SUFFIX = "_file"
EXIT_BAD_CONFIGURATION = 78

Tree = dict[str, Any]
Places = dict[tuple[str | int, ...], str]
"""Where each key stands: path -> ``file:line``."""


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` are sentences with file and line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Read ``path``, then ``conf.d/*.yaml`` beside it in order, then the environment.

    Raises ConfigError with all problems at once. A key ``x_file`` reads the value of ``x`` from
    that file, for secrets.
    """
    tree: Tree = {}
    places: Places = {}
    for file in _files(path):
        part, part_places = _parse(file)
        tree = _merge(tree, part)
        places |= part_places
    for keys, value, name in _environment(os.environ if environment is None else environment):
        tree = _merge(tree, _nest(keys, value))
        places[keys] = name
    tree = _read_secret_files(tree, (), places)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError([_sentence(dict(e), places) for e in error.errors()]) from None


def _files(path: Path | None) -> list[Path]:
    if path is None:
        return []
    try:
        found = path.is_file()
    except PermissionError:
        raise ConfigError(
            [f"{path}: cannot be read: its folder is closed to this account; run as root"]
        ) from None
    if not found:
        raise ConfigError([f"{path}: cannot be read: no such file; give --config FILE"])
    return [path, *sorted((path.parent / "conf.d").glob("*.yaml"))]


_NO_SUCH_VALUE = (ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML lets through of 2026-02-30T00:00:00Z, !!int x and the like."""


def _parse(file: Path) -> tuple[Tree, Places]:
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: is not UTF-8 at byte {error.start}"]) from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise ConfigError([f"{where}: is not YAML: {getattr(error, 'problem', error)}"]) from None
    except _NO_SUCH_VALUE as error:
        raise ConfigError([f"{file}: has a value that is none of its kind: {error}"]) from None
    if tree is None:
        return {}, {}
    if not isinstance(tree, dict):
        raise ConfigError([f"{file}:1: must be a mapping with the keys agent and collector"])
    places: Places = {}
    _collect_places(node, (), file, places)
    return tree, places


def _collect_places(node: Any, at: tuple[str | int, ...], file: Path, places: Places) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*at, str(key.value))
            places[here] = f"{file}:{key.start_mark.line + 1}"
            _collect_places(value, here, file, places)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            places[(*at, index)] = f"{file}:{value.start_mark.line + 1}"
            _collect_places(value, (*at, index), file, places)


def _merge(base: Tree, over: Tree) -> Tree:
    """Mappings merge key by key; anything else replaces."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = (
            _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def _environment(environment: Mapping[str, str]) -> list[tuple[tuple[str, ...], Any, str]]:
    """``PGWARDEN_AGENT__GUARD__MODE=enforce`` -> agent.guard.mode."""
    found = []
    for name, text in sorted(environment.items()):
        keys = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split(NESTING))
        if not name.startswith(ENVIRONMENT_PREFIX) or keys[0] not in Config.model_fields:
            continue
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, *_NO_SUCH_VALUE):
            value = text
        found.append((keys, value, name))
    return found


def _nest(keys: tuple[str, ...], value: Any) -> Tree:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _read_secret_files(tree: Any, at: tuple[str | int, ...], places: Places) -> Any:
    if isinstance(tree, list):
        return [_read_secret_files(item, (*at, i), places) for i, item in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    read: Tree = {}
    for key, value in tree.items():
        if isinstance(key, str) and key.endswith(FILE_SUFFIX) and isinstance(value, str):
            try:
                read[key.removesuffix(FILE_SUFFIX)] = Path(value).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                where = places.get((*at, key), ".".join(map(str, (*at, key))))
                raise ConfigError(
                    [f"{where}: cannot read the secret in {value}: {error}"]
                ) from None
        else:
            read[key] = _read_secret_files(value, (*at, key), places)
    return read


def _sentence(error: dict[str, Any], places: Places) -> str:
    location = tuple(error["loc"])
    known = next(
        (places[location[:n]] for n in range(len(location), 0, -1) if location[:n] in places),
        "configuration",
    )
    name = ".".join(map(str, location)) or "configuration"
    if error["type"] == "extra_forbidden":
        return f"{known}: unknown key {name}; remove it or correct its spelling"
    return f"{known}: {name}: {error['msg']}"
