"""Reads a study file's YAML strictly: plain data of a bounded size, each value as people read it, with its line.

What a plain scalar is, here and to a reader of YAML 1.1, which most tools still follow:

| written | here | YAML 1.1 |
| --- | --- | --- |
| `1e-3`, `.5`, `1E5`, `2.`, `-7` | a number | `1e-3` and `1E5` are text |
| `true`, `false`, `null` | themselves | the same |
| `011`, `1_0`, `1:30`, `0x1F`, `0b11` | refused | 9, 10, 90, 31, 3 |
| `yes`, `no`, `on`, `off` | refused | true or false |
| `2026-01-31` | refused | a date |

What two readers would understand differently is refused with the line to write; in quotes, everything is text.
"""

import re
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml

from trainers.errors import UserError
from trainers.settings import LARGEST_WHOLE

# A study file is a page of text; anything near this size is another kind of file.
MAX_BYTES = 1_000_000
# Characters and values once every alias is written out: nine aliases of nine aliases ... fit on a page.
MAX_EXPANDED = 100_000
# Problems that are said at once; a file with more is of another kind.
MOST_PROBLEMS = 20

_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOTHING = re.compile(r"~|null|Null|NULL|")
# What looks like a number, a truth or a date to some reader and is none of the above.
_LIKE_A_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_OTHER_BASE = re.compile(r"[-+]?0(?:x[0-9a-fA-F_]+|o[0-7_]+|b[01_]+)")

Trail = tuple[str | int, ...]
"""Where a value stands: the names and positions that lead to it from the top."""


class Document(NamedTuple):
    """What a study file holds, and the line on which each of its values stands, from 1, by the trail to it."""

    path: Path
    content: dict[str, Any]
    lines: dict[Trail, int]

    def refusal(self, problems: list[tuple[Trail, str]]) -> UserError:
        """All that is wrong with the file, in the order of its lines, as one error."""
        return _refusal(self.path, [(self._line(trail), text) for trail, text in problems])

    def _line(self, trail: Trail) -> int:
        while trail not in self.lines:
            trail = trail[:-1]
        return self.lines[trail]


class _StudyLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of the table above, and no other kinds of values."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: build
        for tag, build in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in ("null", "str", "seq", "map")
    }


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    if not _WHOLE.fullmatch(node.value):
        raise ValueError(f"{reprlib.repr(node.value)} is no whole number")
    return int(node.value)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    if _INFINITE.fullmatch(node.value):
        return float(node.value.replace(".", ""))
    if not _NUMBER.fullmatch(node.value):
        raise ValueError(f"{reprlib.repr(node.value)} is no number")
    return float(node.value)


def _truth(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    if node.value not in _TRUTH:
        raise ValueError(f"{reprlib.repr(node.value)} is neither true nor false")
    return _TRUTH[node.value]


for _kind, _pattern, _first in (
    ("int", _WHOLE, "-+0123456789"),
    ("float", _NUMBER, "-+.0123456789"),
    ("float", _INFINITE, "-+."),
    ("bool", re.compile("|".join(_TRUTH)), "tTfF"),
    ("null", _NOTHING, "~nN\0"),
    ("merge", re.compile("<<"), "<"),
):
    # A resolver matches from the start; it is to match to the end too. "\0" stands for the empty scalar.
    _exact = re.compile(f"(?:{_pattern.pattern})$")
    _StudyLoader.add_implicit_resolver(f"{_TAG}{_kind}", _exact, [sign.strip("\0") for sign in _first])
_StudyLoader.add_constructor(f"{_TAG}int", _whole)
_StudyLoader.add_constructor(f"{_TAG}float", _number)
_StudyLoader.add_constructor(f"{_TAG}bool", _truth)


def read_yaml(path: Path) -> Document:
    """A study file as a dict of texts, numbers, true or false, lists and dicts, with the lines that they stand on.

    A tag that would build anything else is refused, and nothing is built.

    Raises:
        UserError: a file that cannot be read, is not YAML, holds other values, or no `name: value` lines at its top.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES} bytes; a study file is a page of YAML")
        content, lines = _parsed(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from None
    except UserError:
        raise
    except Exception as error:  # beside its own errors YAML's reader raises whatever a value makes it stumble over
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is not a YAML file that can be read: {reason}; compare it with a preset") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}; a study file is `name: value` lines at its top level")
    document = Document(path, content, lines)
    if found := list(_not_plain(content, ())):
        raise document.refusal(found)
    return document


def _parsed(text: str, path: Path) -> tuple[Any, dict[Trail, int]]:
    """What the text says, and where. Aliases are counted before any of them is followed: `<<` copies what it names."""
    loader = _StudyLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        if _expanded(node, {}) > MAX_EXPANDED:
            raise ValueError(f"with its aliases written out it has more than {MAX_EXPANDED} characters")
        if found := list(_ambiguous(node, set())):
            raise _refusal(path, found)
        content = loader.construct_document(node)
        lines: dict[Trail, int] = {}
        _note_lines(node, (), lines)
        return content, lines
    finally:
        loader.dispose()


def _refusal(path: Path, problems: list[tuple[int, str]]) -> UserError:
    shown = [f"line {line}: {text}" for line, text in sorted(dict.fromkeys(problems))]
    if len(shown) == 1:
        return UserError(f"{path}, {shown[0]}")
    more = [f"and {len(shown) - MOST_PROBLEMS} more"] if len(shown) > MOST_PROBLEMS else []
    return UserError("\n  ".join([f"{path} has {len(shown)} problems:", *shown[:MOST_PROBLEMS], *more]))


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


def _ambiguous(node: yaml.Node, seen: set[int]) -> Iterator[tuple[int, str]]:
    """What readers of YAML would not understand alike, with its lines: scalars, and names that are given twice."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        if node.style is None and node.tag == f"{_TAG}str" and (remedy := _remedy(node.value)):
            yield _line_of(node), f"{reprlib.repr(node.value)[1:-1]} can be read in more than one way; write {remedy}"
    elif isinstance(node, yaml.MappingNode):
        names: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                if key.value in names:
                    text = f"{reprlib.repr(key.value)} is given on line {names[key.value]} too; leave one of them out"
                    yield _line_of(key), text
                names.setdefault(key.value, _line_of(key))
            yield from _ambiguous(key, seen)
            yield from _ambiguous(value, seen)
    else:
        for value in node.value:
            yield from _ambiguous(value, seen)


def _remedy(text: str) -> str | None:
    """What to write in place of a plain scalar that is text here and something else elsewhere; None where nobody errs.

    >>> _remedy("011"), _remedy("no"), _remedy("2026-01-31"), _remedy("MLP")
    ("11, or '011' if it is text", "false, or 'no' if it is text", "'2026-01-31' if it is text", None)
    """
    old = next(
        (tag for tag, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ()) if pattern.match(text)), ""
    ).removeprefix(_TAG)
    quoted = f"{reprlib.repr(text)} if it is text"
    if old == "bool":
        return f"{'true' if text.lower() in ('yes', 'on') else 'false'}, or {quoted}"
    if _LIKE_A_NUMBER.fullmatch(text):
        sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text.lstrip("+"))
        plain = digits.replace("_", "").lstrip("0")
        plain = plain if plain[:1].isdigit() else f"0{plain}"
        return f"{reprlib.repr(sign + plain)[1:-1]}, or {quoted}"
    if _OTHER_BASE.fullmatch(text):
        # More digits than these are no number of 64 bits in any base.
        return f"{int(text.replace('_', ''), 0)}, or {quoted}" if len(text) < 80 else quoted
    return quoted if old in ("int", "float", "timestamp", "value") else None


def _note_lines(node: yaml.Node, trail: Trail, lines: dict[Trail, int]) -> None:
    """The line of every value; a name's is where the name stands. Merges have been written out by now."""
    lines.setdefault(trail, _line_of(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                lines[(*trail, key.value)] = _line_of(key)
                _note_lines(value, (*trail, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _note_lines(value, (*trail, number), lines)


def _line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _not_plain(value: Any, trail: Trail) -> Iterator[tuple[Trail, str]]:
    """What no setting can be: names that are no text, numbers beyond 64 bits, texts that cannot be written."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                yield trail, f"{reprlib.repr(name)} is no name of a setting; give `name: value` lines"
                continue
            yield from _not_plain(name, (*trail, name))
            yield from _not_plain(inner, (*trail, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _not_plain(inner, (*trail, number))
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            yield trail, f"the text {reprlib.repr(value)} holds a character that no name can; leave it out"
    elif isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        yield trail, f"a whole number is beyond 64 bits; give at most {LARGEST_WHOLE}"
