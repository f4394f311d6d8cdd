"""Reads a study file strictly: plain YAML data only, no unknown keys, no wrong types."""

import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from trainers.errors import UserError

# A study file is a page of text; anything near this size is another kind of file.
MAX_BYTES = 1_000_000

_TITLES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "`name: value` lines",
    bool: "true or false",
}


def read_yaml(path: Path) -> dict[str, Any]:
    """The file's top level as a dict. Only plain data are read: a tag that would build an object is refused.

    Raises:
        UserError: a file that cannot be read, is not YAML, or is not `name: value` lines at its top.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES} bytes; a study file is a page of YAML")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is not a YAML file that can be read: {reason}; compare it with a preset") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}; a study file is `name: value` lines at its top level")
    return content


def section(
    values: Any, where: str, shape: type | None, types: Mapping[str, type | tuple[type, ...]] | None = None
) -> dict[str, Any]:
    """One part of a study file, with its keys and their types checked.

    Args:
        values: what the file holds there.
        where: names the part in a message.
        shape: the dataclass that the part fills: its fields are the keys; None takes those of `types` alone.
        types: keys with the types they take, beside or instead of the dataclass's own.

    Raises:
        UserError: not a mapping, an unknown key (the known ones are named), or a wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}; give `name: value` lines")
    allowed: dict[str, tuple[type, ...]] = {}
    if shape is not None:
        hints = typing.get_type_hints(shape)
        allowed = {entry.name: _plain(hints[entry.name]) for entry in fields(shape)}
    for name, kinds in (types or {}).items():
        allowed[name] = kinds if isinstance(kinds, tuple) else (kinds,)
    for name, value in values.items():
        if name not in allowed:
            raise UserError(f"{where}: {name!r} is unknown; use {', '.join(allowed)}")
        kinds = allowed[name]
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
            wanted = " or ".join(
                dict.fromkeys(_TITLES[kind] for kind in kinds if kind is not int or float not in kinds)
            )
            raise UserError(f"{where}: {name} is {value!r}; give {wanted}")
    return dict(values)


def _plain(hint: Any) -> tuple[type, ...]:
    """The YAML types that fill a field of this annotation."""
    origin = typing.get_origin(hint) or hint
    if origin in (int, str, bool):
        return (origin,)
    if origin is float:
        return (float, int)
    return (list,) if origin is tuple else (dict,)
