"""The published schema of study files: of this very code, and what an editor checks a file by."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from study.cli.command_line import main
from study.define.study_file import PRESETS, SCHEMA, schema
from study.define.yaml_reader import read_yaml
from tests.study.small_study import content

REPOSITORY = Path(__file__).parents[3]
STUDIES = [*sorted(PRESETS.glob("*.yaml")), *sorted((REPOSITORY / "results").rglob("*.yaml"))]


@pytest.fixture(scope="module")
def validator() -> Any:
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(published)
    return jsonschema.Draft202012Validator(published)


def test_the_published_schema_is_that_of_the_code() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema(), (
        "write it anew: python -m study schema > study/study.schema.json"
    )


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema()


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_every_study_file_names_the_schema_and_fits_it(file: Path, validator: Any) -> None:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(.+)", first)
    assert named is not None
    assert (file.parent / named.group(1)).resolve() == SCHEMA.resolve()
    assert not list(validator.iter_errors(read_yaml(file).content))


@pytest.mark.parametrize(
    "changes",
    [
        {"sead": 3},
        {"search": {"trails": 3}},
        {"search": {"trials": 0}},
        {"search": {"asha": 3}},
        {"search": {"temperature_mode": "both"}},
        {"search": {"ranges": {"adam": {}}}},
        {"fixed": {"epoch": 3}},
        {"fixed": {"lr": "fast"}},
        {"fixed": {"lr": 0}},
        {"fixed": {"mask_type": "EVM"}},
        {"fixed": {"inertia_bits": 5}},
        {"fixed": {"weight_scale": "row"}},
        {"search": {"fixed": {"bop": {"epochs": 0}}}},
        {"confirm": {"seeds": [2**63]}},
        {"cells": []},
        {"cells": [{"datasets": ["Digits"], "models": ["MPL"], "methods": ["bop"]}]},
        {"cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["bop"], "ablate": {"mask_type": []}}]},
    ],
)
def test_an_editor_sees_what_the_command_would_refuse(changes: dict[str, Any], validator: Any) -> None:
    assert not list(validator.iter_errors(content()))
    assert list(validator.iter_errors(content(**changes)))


def test_each_setting_of_a_study_is_described(validator: Any) -> None:
    for name in ("SearchConfig", "ConfirmConfig", "ResourcesConfig", "AshaConfig", "Block"):
        for setting, about in validator.schema["$defs"][name]["properties"].items():
            assert about.get("description"), f"{name}: {setting}"
    for setting, about in validator.schema["$defs"]["Block"]["properties"]["fixed"]["properties"].items():
        assert about.get("description"), f"fixed: {setting}"
