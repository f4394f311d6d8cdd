"""Accuracy, and what stands beside it; no count depends on how pictures are put into batches."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from trainers.config import TrialConfig
from trainers.data.loader import open_prepared
from trainers.evaluation import Evaluation, evaluate
from trainers.learner import Learner
from trainers.replicas import Replicas

MakeConfig = Callable[..., TrialConfig]


def evaluation(pictures: list[int], right: list[int], among_five: int | None = None) -> Evaluation:
    return Evaluation(np.array(pictures), np.array(right), among_five)


def test_always_naming_the_largest_class_is_seen_beside_accuracy() -> None:
    found = evaluation([95, 5], [95, 0]).metrics("val")
    assert found == {"val_accuracy": 0.95, "val_accuracy_balanced": 0.5, "val_majority_share": 0.95}


def test_top_five_is_absent_where_every_answer_would_be_among_them() -> None:
    assert "test_accuracy_top5" not in evaluation([1, 1], [1, 1]).metrics("test")
    assert evaluation([2] * 6, [1] * 6, 9).metrics("test")["test_accuracy_top5"] == 0.75


def test_balanced_accuracy_is_of_the_classes_that_the_split_has() -> None:
    assert evaluation([4, 0, 2], [4, 0, 1]).balanced_accuracy == 0.75


@pytest.fixture(params=["MLP", "AdamBNN", "BCDNet"])
def trained(request: pytest.FixtureRequest, digits: MakeConfig) -> Iterator[tuple[Learner, Any]]:
    """A learner after eight steps, and the digits' test split."""
    if request.param == "MLP":
        config = digits(hid_dim=128)
    else:
        config = digits(lr=1e-2).replace(model=request.param, width=0.25, image_size=32)
    data = open_prepared("Digits", config.data_root, image_size=config.image_size)
    learner = Learner(config, data, Replicas(), torch.device("cpu"))
    training = data.split("train")
    learner.start_epoch(0)
    for step, batch in enumerate(np.arange(8 * 96).reshape(8, 96)):
        learner.train_step(training.images(batch), torch.from_numpy(training.labels[batch]), step, 96, 0)
    yield learner, data.split("test")


def test_counts_are_the_same_for_batches_of_one_seven_ninety_six_and_all(trained: tuple[Learner, Any]) -> None:
    learner, split = trained
    whole = evaluate(learner, split, Replicas(), 10, len(split))
    assert 0 < whole.right.sum() < len(split)
    for batch_size in (1, 7, 96):
        found = evaluate(learner, split, Replicas(), 10, batch_size)
        assert found.right.tolist() == whole.right.tolist()
        assert found.among_five == whole.among_five


def test_two_workers_count_what_one_does(trained: tuple[Learner, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    learner, split = trained
    whole = evaluate(learner, split, Replicas(), 10, 96)
    monkeypatch.setattr(Replicas, "sum", lambda self, tensor: tensor)
    halves = [evaluate(learner, split, Replicas(rank, 2), 10, 96) for rank in (0, 1)]
    assert (halves[0].right + halves[1].right).tolist() == whole.right.tolist()


def test_answers_are_those_that_were_counted_whoever_gave_them(
    trained: tuple[Learner, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, split = trained
    whole = evaluate(learner, split, Replicas(), 10, 96, answers=True)
    assert whole.answers is not None and (whole.answers == split.labels).sum() == whole.right.sum()
    monkeypatch.setattr(Replicas, "sum", lambda self, tensor: tensor)
    halves = [evaluate(learner, split, Replicas(rank, 2), 10, 96, answers=True).answers for rank in (0, 1)]
    assert halves[0] is not None and halves[1] is not None
    assert (halves[0] + halves[1]).tolist() == whole.answers.tolist()
