"""The notebooks on data and rules of one's own run in an empty folder, and train what they made."""

import re
from pathlib import Path

import pytest

from tests.notebooks.running import execute, pictures, printed


@pytest.mark.integration
def test_pictures_of_ones_own_are_prepared_and_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute("your_own_data.ipynb", tmp_path, monkeypatch)
    said = printed(notebook)
    assert "3 classes" in said and "checked: shapes-MLP-binary, shapes-MLP-real-Adam, shapes-MLP-frozen" in said
    accuracies = {name: float(value) for name, value in re.findall(r"(\w+): validation accuracy (\d+) %", said)}
    assert accuracies["binary"] > 60 > 100 / 3
    assert pictures(notebook) == 1


@pytest.mark.integration
def test_a_rule_of_ones_own_keeps_the_promises_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute("your_own_rule.ipynb", tmp_path, monkeypatch)
    said = printed(notebook)
    assert said.count("kept: ") == 8
    accuracies = dict(re.findall(r"(cautious .+?|binary .+?): ([\d.]+) %, 1 bit", said))
    assert len(accuracies) == 4 and float(accuracies["cautious 2σ"]) > 50
    assert pictures(notebook) == 1
