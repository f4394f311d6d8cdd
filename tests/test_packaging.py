"""A clean clone installs as the README says, and what the package names is there."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
CI_RUN = REPOSITORY / ".ci" / "run"


def ci_command() -> str:
    found = re.search(r"^readme_command='(.+)'$", CI_RUN.read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


def test_readme_opens_with_the_two_commands_and_ci_runs_its_second() -> None:
    fenced = re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.M | re.S)
    lines = [line for block in fenced for line in block.splitlines() if line.strip()]
    first, second = lines[:2]
    assert "pip install" in first and first.endswith("python -m study run quickstart")
    assert second == ci_command()


def test_licence_is_apache_2_in_words_and_in_name() -> None:
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License\n" in text and "Version 2.0, January 2004" in text


def declared(*extras: str) -> list[Requirement]:
    """What the package asks for, and what its extras ask for."""
    project = PYPROJECT["project"]
    asked = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    return [Requirement(one) for one in asked if not one.startswith(project["name"])]


def test_every_dependency_is_tested_in_a_release_that_its_range_allows() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): pin for name, _, pin in (one.partition("==") for one in lines)}
    for requirement in declared("test", "notebooks", "docs"):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(pin), f"constraints.txt has {pin}, pyproject.toml asks for {requirement}"


def test_every_import_is_of_a_declared_dependency() -> None:
    # pydantic names the one release of pydantic_core that it works with.
    distributions = {"sklearn": "scikit-learn", "PIL": "pillow", "pydantic_core": "pydantic", "yaml": "pyyaml"}
    names_of_declared = {requirement.name for requirement in declared("triton")}
    packages = ("trainers", "search_spaces", "study")
    for package in packages:
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                for top in {name.split(".")[0] for name in names} - set(packages) - sys.stdlib_module_names:
                    assert distributions.get(top, top) in names_of_declared, (
                        f"{path} imports {top}, which is not declared"
                    )


def test_what_a_report_is_written_with_goes_with_the_package() -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["study.report"]
    room = REPOSITORY / "study" / "report"
    carried = {path for pattern in patterns for path in room.glob(pattern)}
    needed = {path for path in room.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert needed and needed <= carried


@pytest.mark.integration
def test_importing_study_reports_nothing_and_leaves_the_users_choice() -> None:
    show = "import study, os; print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    clean = {k: v for k, v in os.environ.items() if k not in ("RAY_USAGE_STATS_ENABLED", "MLFLOW_DISABLE_TELEMETRY")}
    for given, shown in (({}, "0 true"), ({"RAY_USAGE_STATS_ENABLED": "1"}, "1 true")):
        run = subprocess.run(
            [sys.executable, "-c", show], env=clean | given, cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == shown
