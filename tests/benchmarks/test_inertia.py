"""The benchmark of flips with inertia: its rules are runs that can be made, and its tables say what was found."""

import json
from pathlib import Path

import pytest

from benchmarks import inertia
from benchmarks.inertia import COUNTERS, LADDER, RULES, Result, main, time_ratios
from benchmarks.published_rules import Case, configuration
from benchmarks.step import make_step
from trainers.memory.state import state_bits_per_weight


def state_bits(name: str) -> float:
    """Of a rule in a small network, after its second step: Adam's moments exist after the first."""
    step = make_step(configuration(Case("", RULES[name], (0.0, 0.0)), 1, "none").replace(hid_dim=64, image_size=8))
    for _ in range(2):
        step()
    return state_bits_per_weight(step.learner)


def test_state_is_the_sign_and_what_the_rule_keeps_beside_it() -> None:
    found = {name: state_bits(name) for name in RULES}
    expected = {"b = 0": 1, "b = 2": 3, "b = 4": 5, "b = 8": 9, "Bop, 32 bits": 33, "Bop, 16 bits": 17, "Adam": 96}
    assert found == pytest.approx(expected, rel=1e-3)  # Adam counts its steps; rows end on a byte


def test_every_number_of_bits_is_timed_against_none() -> None:
    found = time_ratios(2, hid_dim=32, image_size=8)
    assert tuple(found) == COUNTERS
    assert found[0][1] == 1.0
    assert all(seconds > 0 and ratio > 0 for seconds, ratio in found.values())


def test_the_tables_show_what_was_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(inertia, "trained", lambda *arguments: Result([95.0, 94.0], 5.0, 3 * 2**20))
    assert main(["--data-root", "d", "--rules", "b = 4", "--seeds", "1", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| b = 4 | 95.00, 94.00 | 94.50 | 5.00 | 3.00 |"
    assert main(["--data-root", "d", "--rules", "Adam", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state_bits"] == 5.0
    monkeypatch.setattr(inertia, "time_ratios", lambda steps: {0: (0.02, 1.0), 4: (0.021, 1.05)})
    assert main(["--time"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| b = 4 | 21.00 | 1.050 |"
    monkeypatch.setattr(inertia, "memory_peaks", lambda: {rung.title: 2**20 for rung in LADDER})
    assert main(["--memory"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| b = 8, packed activations | 1.00 | 1.0000 |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data-root", "d", "--rules", "b = 3"], "rule 'b = 3' is unknown; use some of b = 0, b = 2"),
        ([], "--data-root is missing"),
        (["--time", "--steps", "0"], "steps is 0; time at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_four_bits_reach_what_bop_reaches(shared_dir: Path, tmp_path: Path) -> None:
    result = inertia.trained(RULES["b = 4"], [1], str(shared_dir / "data"), str(tmp_path))
    assert 94.5 <= result.accuracies[0] <= 97.0  # 95.45 to 95.65 measured, seeds 1 to 3; b = 0 reaches 88
    assert result.state_bits < 5.001
