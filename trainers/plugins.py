"""Methods, models and data sets of one's own: from a file that the command line names, loaded wherever a run goes.

A plug-in is a Python file whose top level holds a `Method`, a `Model` or a `DatasetInfo`, one or several. It is code,
and runs as what the user runs: only the command line or an installed package brings one, never a study file. Its text
travels with each run to the process that trains it, on whatever machine, and its name and SHA-256 are recorded with
each run, so that a study does not go on with another version of it.

    python -m study run STUDY.yaml --plugin examples/own_rule.py
"""

import ast
import hashlib
import importlib.abc
import importlib.util
import linecache
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

from trainers.data.catalog import DatasetInfo, catalogued_by, forget, lookup, register
from trainers.errors import UserError
from trainers.method import Method
from trainers.model import Model
from trainers.registry import METHODS, MODELS, Origin

LARGEST_BYTES = 1_000_000  # of a plug-in's file, which goes with every trial


class Shipped(TypedDict):
    """A plug-in as it travels with a run, as plain values."""

    name: str
    source: str


@dataclass(frozen=True)
class Plugin:
    """A loaded plug-in file.

    Attributes:
        origin: its file's name and the SHA-256 of its content.
        source: its content.
        brings: what it made known, e.g. `method sign_majority`.
    """

    origin: Origin
    source: str
    brings: tuple[str, ...]


_LOADED: dict[str, Plugin] = {}


def load_plugin(path: str | Path) -> Plugin:
    """Load a plug-in file and make known what it brings; in place of an earlier version of the same file.

    Raises:
        UserError: it cannot be read or run, brings nothing, lacks a part, or clashes with a name that is there; a line
            with the file and the line in it.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
        if len(content) > LARGEST_BYTES:
            raise UserError(f"plug-in {file}: it has {len(content)} bytes; give a file of at most {LARGEST_BYTES}")
        source = content.decode()
    except OSError as error:
        raise UserError(f"plug-in {file} cannot be read: {error.strerror}; give the path of a Python file") from None
    except UnicodeDecodeError:
        raise UserError(f"plug-in {file} is no text; give the path of a Python file") from None
    return _load(file.name, source, str(file))


def shipped() -> list[Shipped]:
    """The loaded plug-ins as they travel with a run."""
    return [Shipped(name=plugin.origin.name, source=plugin.source) for plugin in _LOADED.values()]


def receive(plugins: Iterable[Mapping[str, Any]]) -> None:
    """Load, in the process that a run came to, the plug-ins that came with it."""
    for plugin in plugins:
        _load(plugin["name"], plugin["source"], f"<{plugin['name']}>")


def origins(dataset: str, model: str, algorithm: str) -> dict[str, str]:
    """The plug-ins that a run of these needs: the SHA-256 of each by name; empty where it needs none."""
    found = (METHODS.origin(algorithm), MODELS.origin(model), catalogued_by(dataset))
    return {origin.name: origin.sha256 for origin in found if origin is not None}


def _load(name: str, source: str, where: str) -> Plugin:
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    known = _LOADED.get(name)
    if known is not None and known.origin.sha256 == sha256:
        return known
    if known is not None:
        _withdraw(known.origin)
        del _LOADED[name]
    origin = Origin(name, sha256)
    module = _run(source, where, f"binsfo_plugin_{re.sub(r'[^0-9A-Za-z]', '_', Path(name).stem)}_{sha256[:8]}")
    brought = []
    try:
        for attribute, thing in _things(module):
            try:
                _enter(thing, origin)
            except UserError as error:
                raise UserError(f"plug-in {where}, line {_line_of(attribute, source)}: {error}") from None
            brought.append(f"{type(thing).__name__.lower().removesuffix('info')} {thing.name}")
        if not brought:
            raise UserError(
                f"plug-in {where}, line 1: it brings nothing; let its top level hold a Method, a Model or a DatasetInfo"
            )
    except UserError:
        _withdraw(origin)
        raise
    _LOADED[name] = Plugin(origin, source, tuple(brought))
    return _LOADED[name]


class _Text(importlib.abc.SourceLoader):
    """Imports a module from a text that may lie in no file."""

    def __init__(self, where: str, source: str) -> None:
        self._where, self._source = where, source

    def get_filename(self, fullname: str) -> str:
        return self._where

    def get_data(self, path: str) -> bytes:
        if path != self._where:
            raise OSError(f"only {self._where} is there")  # no compiled copy is kept
        return self._source.encode()


def _run(source: str, where: str, name: str) -> ModuleType:
    loader = _Text(where, source)
    spec = importlib.util.spec_from_loader(name, loader, origin=where)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    linecache.cache[where] = (len(source), None, source.splitlines(keepends=True), where)  # for tracebacks
    try:
        loader.exec_module(module)
    except Exception as error:  # a plug-in may raise whatever it likes
        del sys.modules[name]
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == where]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1] if frames else 1
        said = str(error.msg if isinstance(error, SyntaxError) else error).splitlines() or [""]
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        raise UserError(f"plug-in {where}, line {line}: {kind}{said[0]}") from None
    return module


def _things(module: ModuleType) -> Iterator[tuple[str, Method | Model | DatasetInfo]]:
    """What a module's top level holds that is not the project's own, imported there."""
    seen: list[int] = []
    for attribute, thing in list(vars(module).items()):
        there: object = None
        if isinstance(thing, Method):
            there = METHODS.all().get(thing.name)
        elif isinstance(thing, Model):
            there = MODELS.all().get(thing.name)
        elif isinstance(thing, DatasetInfo):
            there = lookup(thing.name)
        else:
            continue
        if thing is not there and id(thing) not in seen:
            seen.append(id(thing))
            yield attribute, thing


def _enter(thing: Method | Model | DatasetInfo, origin: Origin) -> None:
    if isinstance(thing, Method):
        METHODS.add(thing, origin)
    elif isinstance(thing, Model):
        MODELS.add(thing, origin)
    else:
        register(thing, origin)


def _withdraw(origin: Origin) -> None:
    """Forget what a plug-in brought."""
    METHODS.withdraw(origin)
    MODELS.withdraw(origin)
    forget(origin)


def _line_of(attribute: str, source: str) -> int:
    """The line of a module's source that gives a name of its top level its value."""
    for node in ast.parse(source).body:
        names = getattr(node, "targets", [getattr(node, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == attribute for target in names):
            return node.lineno
    return 1
