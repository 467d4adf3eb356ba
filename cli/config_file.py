"""Configuration files: etcd's YAML, or TOML, with the names of flags as keys.

What it is: a file's text as (name, value) pairs, values as text like those of flags. What it is
not: which names there are, or what a value means.

Words: a key without a value (`wal-dir:`), an empty text and `false` mean *not asked for*: etcd's
own sample file lists every key so.

Invariants: a key stands once; a scalar is kept as it is written (`name: 007` is the name 007, which
YAML alone would take for a number); a list becomes its comma-separated parts.

Worked example: `listen-client-urls: http://127.0.0.1:2379` is
("listen-client-urls", "http://127.0.0.1:2379").

Source of the keys: the json tags of etcd's server/embed/config.go. Tested in
tests/unit/cli/test_config_file.py.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml


class BadConfigFile(ValueError):
    """A file that cannot be read as configuration; the text names the place."""

    definite = True
    hint = "write lines like 'data-dir: /var/lib/kubebraid'"


def read_config_file(path: str) -> list[tuple[str, str]]:
    """What the file asks for, in its order. Raises BadConfigFile."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadConfigFile(f"{path} cannot be read: {reason}") from error
    found = _toml(path, text) if path.endswith(".toml") else _yaml(path, text)
    return [(name, value) for name, value in found if value not in ("", "false")]


def _toml(path: str, text: str) -> list[tuple[str, str]]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfigFile(f"{path}: {error}") from error
    return [(name, _toml_value(f"{path}: {name}", value)) for name, value in table.items()]


def _toml_value(place: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, list):
        return ",".join(_toml_value(place, part) for part in value)
    if isinstance(value, dict):
        return _first_asked([_toml_value(place, part) for part in value.values()])
    raise BadConfigFile(f"{place} is no text and no number")


def _yaml(path: str, text: str) -> list[tuple[str, str]]:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())  # it comes in several lines
        raise BadConfigFile(f"{path} is no YAML: {reason}") from error
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise BadConfigFile(f"{path} has no keys: a name and a colon begin each line")
    found: list[tuple[str, str]] = []
    for key, node in root.value:
        place = f"{path}:{key.start_mark.line + 1}: {key.value}"
        if key.value in {name for name, _ in found}:
            raise BadConfigFile(f"{place} stands twice")
        found.append((str(key.value), _yaml_value(place, node)))
    return found


def _yaml_value(place: str, node: yaml.Node) -> str:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        empty = node.tag == "tag:yaml.org,2002:null"
        return "" if empty else _boolean(node)
    if isinstance(node, yaml.SequenceNode):
        return ",".join(_yaml_value(place, part) for part in node.value)
    assert isinstance(node, yaml.MappingNode), node
    return _first_asked([_yaml_value(place, part) for _, part in node.value])


def _boolean(node: yaml.ScalarNode) -> str:
    """As written, but for the many ways in which YAML says false."""
    text = str(node.value)
    if node.tag == "tag:yaml.org,2002:bool" and text.lower() in ("false", "no", "off"):
        return "false"
    return text


def _first_asked(values: list[str]) -> str:
    """A group, such as client-transport-security, asks for something if one of its keys does."""
    return next((value for value in values if value not in ("", "false")), "")
