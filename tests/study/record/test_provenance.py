"""Where a result comes from can be told inside a checkout, outside one, and in somebody else's."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from study.record.provenance import (
    DISTRIBUTION,
    LONGEST_COMMAND,
    UNKNOWN,
    command_line,
    git_commit,
    hardware,
    package_version,
    provenance,
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A file that a fresh repository tracks."""
    file = tmp_path / "module.py"
    file.write_text("a = 1\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "module.py"), (*identity, "commit", "-q", "-m", "one")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return file


def test_a_clean_checkout_gives_its_commit_and_a_changed_one_a_mark(checkout: Path) -> None:
    commit = git_commit(checkout)
    assert len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    checkout.write_text("a = 2\n")
    git_commit.cache_clear()
    assert git_commit(checkout) == f"{commit}-dirty"


def test_a_module_that_git_does_not_track_makes_a_commit_dirty(checkout: Path) -> None:
    git_commit.cache_clear()
    commit = git_commit(checkout)
    checkout.with_name("notes.txt").touch()
    git_commit.cache_clear()
    assert git_commit(checkout) == commit
    checkout.with_name("new.py").touch()
    git_commit.cache_clear()
    assert git_commit(checkout) == f"{commit}-dirty"


def test_outside_a_checkout_and_untracked_in_one_the_commit_is_unknown(checkout: Path, tmp_path_factory) -> None:
    untracked = checkout.with_name("installed.py")
    untracked.touch()
    assert git_commit(untracked) == UNKNOWN
    assert git_commit(tmp_path_factory.mktemp("bare") / "module.py") == UNKNOWN


def test_origin_is_four_short_strings_that_name_what_decides_a_result() -> None:
    origin = provenance()
    assert set(origin) == {"git_commit", "versions", "hardware", "command"}
    assert all(isinstance(text, str) and 0 < len(text) <= LONGEST_COMMAND for text in origin.values())
    assert "python 3" in origin["versions"] and "torch 2" in origin["versions"]


def test_processors_of_one_name_with_other_vectors_are_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for vectors in ("AVX2", "AVX512", "DEFAULT"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda vectors=vectors: vectors)
        found.append(hardware.__wrapped__())
    assert "(AVX2), " in found[0] and found[1] == found[0].replace("AVX2", "AVX512")
    assert found[2] == found[0].replace(" (AVX2)", "")


def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/study/__main__.py", "train", "--dataset", "my data"])
    assert command_line() == "python -m study train --dataset 'my data'"
    monkeypatch.setattr(sys, "argv", ["/somewhere/.venv/bin/binsfo", "plan", "quickstart"])
    assert command_line() == "binsfo plan quickstart"
    monkeypatch.setattr(sys, "argv", ["x", "y" * 5000])
    assert len(command_line()) == LONGEST_COMMAND


def test_a_distribution_that_is_not_installed_has_an_unknown_version() -> None:
    assert package_version("no-such-distribution") == UNKNOWN


def test_the_distribution_is_the_one_that_is_built() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert pyproject["project"]["name"] == DISTRIBUTION
