"""Reads a study file strictly: plain YAML data only, of a bounded size, no unknown keys, no wrong types."""

import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from trainers.errors import UserError

# A study file is a page of text; anything near this size is another kind of file.
MAX_BYTES = 1_000_000
# Characters and values once every alias is written out: nine aliases of nine aliases ... fit on a page.
MAX_EXPANDED = 100_000
# The numbers that records and tables can hold are of 64 bits.
LARGEST_WHOLE = 2**63 - 1

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
    """The file's top level as a dict of texts, numbers, true or false, lists and dicts.

    A tag that would build anything else is refused, and nothing is built.

    Raises:
        UserError: a file that cannot be read, is not YAML, holds other values, or no `name: value` lines at its top.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES} bytes; a study file is a page of YAML")
        content = _parsed(path.read_text(encoding="utf-8"))
        _check_plain(content, path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from None
    except UserError:
        raise
    except Exception as error:  # beside its own errors YAML's reader raises whatever a value makes it stumble over
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is not a YAML file that can be read: {reason}; compare it with a preset") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}; a study file is `name: value` lines at its top level")
    return content


def _parsed(text: str) -> Any:
    """What the text says. Its aliases are counted before any of them is followed: `<<` copies what it names."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > MAX_EXPANDED:
            raise ValueError(f"with its aliases written out it has more than {MAX_EXPANDED} characters")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Values and characters below a node, each time that they are named; an endless number where it holds itself."""
    if id(node) not in known:
        known[id(node)] = MAX_EXPANDED + 1  # while it is being counted: who comes by here again goes round in a circle
        if isinstance(node, yaml.ScalarNode):
            count = len(node.value)
        else:
            inner = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
            count = sum(_expanded(part, known) for part in inner)
        known[id(node)] = 1 + count
    return known[id(node)]


def _check_plain(value: Any, path: Path) -> None:
    """Refuse what no setting can be: dates, bytes, sets, numbers beyond 64 bits, texts that cannot be written."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise UserError(f"{path}: {reprlib.repr(name)} is no name of a setting; give `name: value` lines")
            _check_plain(name, path)
            _check_plain(inner, path)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, path)
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise UserError(f"{path}: the text {reprlib.repr(value)} holds a character that no name can; leave it out")
    elif isinstance(value, int):
        if abs(value) > LARGEST_WHOLE:
            raise UserError(f"{path} holds a whole number beyond 64 bits; give a smaller one")
    elif not isinstance(value, float | None):
        kind = type(value).__name__
        raise UserError(f"{path} holds a {kind}, {reprlib.repr(value)}; give text (in quotes), a number or a list")


def section(
    values: Any, where: str, shape: type | None, kinds_of: Mapping[str, type | tuple[type, ...]] | None = None
) -> dict[str, Any]:
    """One part of a study file, with its keys and their types checked.

    Args:
        values: what the file holds there.
        where: names the part in a message.
        shape: the dataclass that the part fills: its fields are the keys; None takes those of `kinds_of` alone.
        kinds_of: keys with the types they take, beside or instead of the dataclass's own.

    Raises:
        UserError: not a mapping, an unknown key (the known ones are named), or a wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {reprlib.repr(values)}; give `name: value` lines")
    allowed: dict[str, tuple[type, ...]] = {}
    if shape is not None:
        hints = typing.get_type_hints(shape)
        allowed = {entry.name: _plain(hints[entry.name]) for entry in fields(shape)}
    for name, kinds in (kinds_of or {}).items():
        allowed[name] = kinds if isinstance(kinds, tuple) else (kinds,)
    for name, value in values.items():
        if name not in allowed:
            raise UserError(f"{where}: {name!r} is unknown; use {', '.join(allowed)}")
        kinds = allowed[name]
        if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
            wanted = " or ".join(
                dict.fromkeys(_TITLES[kind] for kind in kinds if kind is not int or float not in kinds)
            )
            raise UserError(f"{where}: {name} is {reprlib.repr(value)}; give {wanted}")
    return dict(values)


def _plain(hint: Any) -> tuple[type, ...]:
    """The YAML types that fill a field of this annotation."""
    if isinstance(hint, types.UnionType):  # `int | None`: None is what a key that is left out means
        hint = typing.get_args(hint)[0]
    origin = typing.get_origin(hint) or hint
    if origin in (int, str, bool):
        return (origin,)
    if origin is float:
        return (float, int)
    return (list,) if origin is tuple else (dict,)
