"""The study file reader under any text: a study or a message, never a traceback."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from study.define.cells import StudyConfig
from study.define.study_file import load_study
from tests.fuzz.inputs import fuzz, only_user_errors
from trainers.errors import UserError

pytestmark = pytest.mark.slow

VALID: dict[str, Any] = {
    "name": "small",
    "cells": [
        {
            "datasets": ["Digits", "MNIST"],
            "models": ["MLP"],
            "methods": ["binary", "bop", "frozen", "real-SGD", "real"],
            "fixed": {"hid_dim": 32, "depth": 2},
        }
    ],
    "fixed": {"epochs": 3, "batch_size": 96, "lr": 0.1},
    "search": {
        "trials": 4,
        "seed": 1,
        "asha": {"grace_period": 1, "reduction_factor": 3},
        "temperature_mode": "coupled",
        "ranges": {"bop": {"lr": [0.001, 0.1]}, "real": {"optimizer": ["SGD"]}},
        "fixed": {"binary": {"mask_type": "EWM"}},
    },
    "confirm": {"k": 1, "seeds": [11, 12, 13]},
    "resources": {"workers": 1, "threads": 1, "device": "auto"},
    "tracking_uri": "http://127.0.0.1:5000",
}
# Every word that means something in a study file, and some that mean something elsewhere.
WORDS = sorted(set(re.findall(r"[A-Za-z_-]+", json.dumps(VALID)))) + [
    *("real-Adam", "WPM", "RAND", "gaussian", "pretrained", "image_size", "data_root", "temperature", "__class__"),
    *("..", "../../x", "/etc/passwd", "~nobody/x", "~", "", " ", "a\0b", "\ud800", "ü" * 300, "a/b", "C:\\x"),
    *("%s", "{0}"),
]
NASTY = (
    "!!python/object/apply:os.system ['true']",
    "!!python/name:os.system",
    "!!python/object/new:subprocess.Popen [[true]]",
    "!!binary aGVsbG8=",
    "!!binary '*'",
    "!!set {a, b}",
    "!!omap [a: 1, a: 2]",
    "!!pairs [a: 1]",
    "!!timestamp 2001-01-01",
    "!!int x",
    "!!float x",
    "!!bool maybe",
    "!unknown {a: 1}",
    "!<tag:yaml.org,2002:python/tuple> [1]",
    "2001-99-99",
    "2001-01-01T25:61:61Z",
    "0x" + "f" * 5000,
    "1" * 5000,
    "1:" * 400 + "1",
    "1e400",
    "-.inf",
    ".nan",
    "&a [*a]",
    "&a {b: *a}",
    "*missing",
    "{<<: *missing}",
    "{<<: [1, 2]}",
    "{? [1] : 2}",
    "{? {a: 1} : 2}",
    "{1: 2, null: 3, true: 4, 2001-01-01: 5}",
    "[" * 300 + "]" * 300,
    "{a: " * 300 + "}" * 300,
    "- " * 400 + "x",
    "'" + "a" * 70_000 + "'",
    '"\\ud800\\0\\x07"',
    "--- a\n--- b",
    "%YAML 9.9\n---\na: b",
    "|\n  text\n",
    "\t- x",
    "@",
    "`",
)
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 26))

scalars = (
    st.sampled_from(WORDS)
    | st.integers()
    | st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400])
    | st.floats()
    | st.booleans()
    | st.none()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=4)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=4), max_leaves=8
)


def places(value: Any, trail: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [trail] + [place for key, entry in inner for place in places(entry, (*trail, key))]


@st.composite
def changed_studies(draw: st.DrawFn) -> str:
    """A valid study with some of its parts replaced, renamed, removed or added."""
    study = json.loads(json.dumps(VALID))
    for _ in range(draw(st.integers(1, 3))):
        trail = draw(st.sampled_from([place for place in places(study) if place]))
        holder = study
        for key in trail[:-1]:
            holder = holder[key]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add"]))
        if kind == "replace":
            holder[trail[-1]] = draw(values)
        elif kind == "remove":
            del holder[trail[-1]]
        elif isinstance(holder, list):
            holder.insert(0, draw(values))
        else:
            holder[draw(scalars)] = holder.pop(trail[-1]) if kind == "rename" else draw(values)
    return yaml.dump(study, sort_keys=False)


@st.composite
def changed_texts(draw: st.DrawFn) -> str:
    """A valid study's text with pieces of YAML that are hard to read put into it."""
    text = yaml.safe_dump(VALID, sort_keys=False, default_flow_style=draw(st.sampled_from([None, True])))
    for _ in range(draw(st.integers(1, 3))):
        nasty = draw(st.sampled_from([*NASTY, LAUGHS, MERGES, "*a11", "*a25"]) | st.text(max_size=6))
        words = [match.span() for match in re.finditer(r"[\w.-]+", text)]
        start, end = draw(st.sampled_from(words)) if words else (0, 0)
        if draw(st.booleans()):
            end = start
        text = text[:start] + nasty + text[end:]
    return (LAUGHS if draw(st.booleans()) else "") + text


pieces = st.sampled_from([*NASTY, *WORDS, *"[]{}:,&*!|>-?#%\n\t\"'", "\n- ", ": ", "\n  ", "cells:", "name: x\n"])
random_texts = st.lists(pieces | st.text(max_size=3), max_size=30).map("".join)


def read(text: str | bytes, folder: Path) -> StudyConfig | None:
    """Read a study file of this content; where it is one, hold it to what the rest of the platform relies on."""
    file = folder / "study.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with only_user_errors():
        study = load_study(str(file))
        json.dumps(study.identity(), allow_nan=False)
        for cell in study.cells:
            assert cell.trials >= 1
            assert "/" not in cell.name
            assert "\0" not in cell.name
            assert len(cell.name.encode()) <= 200
        return study
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


def test_the_valid_study_is_one(folder: Path) -> None:
    assert read(yaml.safe_dump(VALID), folder) is not None


@fuzz(1200)
@given(text=changed_studies())
def test_a_changed_study_is_a_study_or_a_message(text: str, folder: Path) -> None:
    read(text, folder)


@fuzz(600)
@given(text=changed_texts())
def test_nasty_yaml_in_a_study_is_a_message(text: str, folder: Path) -> None:
    read(text, folder)


@fuzz(600)
@given(text=random_texts | st.binary(max_size=60))
def test_any_text_is_a_message(text: str | bytes, folder: Path) -> None:
    read(text, folder)


@pytest.mark.parametrize("text", [LAUGHS, MERGES, *(f"name: {nasty}\ncells: {nasty}" for nasty in NASTY)])
def test_each_nasty_piece_is_a_message(text: str, folder: Path) -> None:
    assert read(text, folder) is None


def test_a_study_file_runs_no_code(folder: Path) -> None:
    trace = folder / "executed"
    for tag in ("os.mkdir", "os.system", "subprocess.check_call"):
        (folder / "study.yaml").write_text(f"name: !!python/object/apply:{tag} ['{trace}']\n")
        with pytest.raises(UserError, match="is not a YAML file that can be read"):
            load_study(str(folder / "study.yaml"))
    assert not trace.exists()
