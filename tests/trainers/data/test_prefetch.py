"""Batches gathered ahead are the batches, in order, and nothing of them is left behind."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.data.loader import Split, open_prepared
from trainers.data.prefetch import gathered
from trainers.data.prepare import prepare
from trainers.errors import UserError

BATCHES = [np.array([3, 1]), np.array([4]), np.array([1, 5, 9])]
CPU = torch.device("cpu")


@pytest.fixture(params=["decoded", "encoded"])
def train(request: pytest.FixtureRequest, small_parquet: Path, tmp_path: Path) -> Split:
    most = 0 if request.param == "encoded" else 2**20
    prepare(small_parquet, tmp_path, image_size=12, max_decoded_bytes=most)
    return open_prepared(small_parquet, tmp_path, image_size=12).split("train", 0.0)


def waiting() -> int:
    """Threads that gather batches."""
    return sum(thread.name.startswith("next-batch") for thread in threading.enumerate())


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_come_in_order_with_their_labels(train: Split, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = list(gathered(train, BATCHES, CPU))
    finally:
        torch.set_num_threads(before)
    assert len(found) == len(BATCHES)
    for rows, (images, labels) in zip(BATCHES, found, strict=True):
        assert torch.equal(images, train.images(rows))
        assert np.array_equal(labels.numpy(), train.labels[rows])


def test_no_batch_is_no_work(train: Split) -> None:
    assert list(gathered(train, [], CPU)) == []


def test_one_batch_waits_and_the_thread_ends_with_the_generator(train: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    images = Split.images

    def counted(self: Split, rows: np.ndarray) -> torch.Tensor:
        asked.append(len(rows))
        return images(self, rows)

    monkeypatch.setattr(Split, "images", counted)
    monkeypatch.setattr(train, "encoded", True)
    with closing(gathered(train, [np.array([0])] * 5, CPU)) as ahead:
        next(ahead)
        next(ahead)
        assert len(asked) <= 3 and waiting() == 1
    assert len(asked) <= 3 and waiting() == 0


def test_a_batch_that_cannot_be_read_fails_in_its_place(train: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def images(self: Split, rows: np.ndarray) -> torch.Tensor:
        if len(rows) == 1:
            raise UserError("row 4 is damaged")
        return torch.zeros(len(rows))

    monkeypatch.setattr(Split, "images", images)
    monkeypatch.setattr(train, "encoded", True)
    ahead = gathered(train, BATCHES, CPU)
    next(ahead)
    with pytest.raises(UserError, match="row 4 is damaged"):
        next(ahead)
    assert waiting() == 0
