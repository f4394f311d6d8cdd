"""The loader: test stays shut, nothing is unpickled, workers map the same files, normalising follows its formula."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from trainers.data import loader
from trainers.data.loader import normalise, open_prepared
from trainers.data.prepare import prepare


def test_test_files_are_not_opened_before_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("Digits", tmp_path)
    opened: list[str] = []
    original = pa.memory_map

    def recording(path: str, *arguments: Any) -> pa.MemoryMappedFile:
        opened.append(Path(path).name)
        return original(path, *arguments)

    monkeypatch.setattr(loader.pa, "memory_map", recording)
    data = open_prepared("Digits", tmp_path)
    data.split("train").images(np.arange(4))
    data.split("validation").images(np.arange(4))
    assert opened == ["train-00000.arrow"]
    data.split("test")
    assert opened == ["train-00000.arrow", "test-00000.arrow"]


def test_stored_pixels_are_a_view_of_the_mapped_file(tmp_path: Path) -> None:
    prepare("Digits", tmp_path)
    before = pa.total_allocated_bytes()
    split = open_prepared("Digits", tmp_path).split("train")
    (shard,) = split._rows._shards
    assert shard.values is not None and not shard.values.flags.owndata
    assert pa.total_allocated_bytes() == before  # Arrow itself allocated nothing for the pixels


def test_images_may_be_changed_without_touching_what_is_stored(tmp_path: Path) -> None:
    split = open_prepared("Digits", tmp_path).split("train")
    first = split.images(np.array([0]))
    kept = first.clone()
    first.zero_()
    assert torch.equal(split.images(np.array([0])), kept)


def test_opening_prepares_first_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_prepared("Digits", tmp_path)
    assert "python -m study prepare Digits" in capsys.readouterr().err
    open_prepared("Digits", tmp_path)
    assert capsys.readouterr().err == ""


def test_indices_outside_a_split_are_an_error(tmp_path: Path) -> None:
    split = open_prepared("Digits", tmp_path).split("validation")
    with pytest.raises(IndexError):
        split.images(np.array([len(split)]))


def test_empty_validation_and_empty_batches_have_the_right_shape(tmp_path: Path) -> None:
    data = open_prepared("Digits", tmp_path)
    assert len(data.split("validation", val_fraction=0)) == 0
    assert data.split("train").images(np.array([], dtype=np.int64)).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_normalise_is_pixels_scaled_to_one_minus_mean_over_std(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    result = normalise(images, mean, std, dtype)
    expected = torch.stack([(images[:, c].double() / 255 - mean[c]) / std[c] for c in range(3)], dim=1)
    assert result.dtype == dtype
    # One rounding of the result, and a few of float32's last bits before it.
    assert torch.allclose(result.double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
