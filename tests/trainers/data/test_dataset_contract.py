"""What holds for every catalogued data set once it is prepared; a new entry is tested by being listed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.data.catalog import CATALOG
from trainers.data.loader import PreparedData, normalise, open_prepared
from trainers.data.prepare import prepare
from trainers.data.store import verify_prepared

SIZE = 16


@pytest.fixture(scope="module", params=list(CATALOG))
def prepared(
    request: pytest.FixtureRequest, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> PreparedData:
    root = tmp_path_factory.mktemp("prepared")
    reports: list[tuple[int, int]] = []
    folder = prepare(
        request.param,
        shared_dir / "data",
        prepared_root=root,
        image_size=SIZE,
        progress=lambda done, total, what: reports.append((done, total)),
    )
    assert reports[-1][0] == reports[-1][1] == max(done for done, _ in reports)
    verify_prepared(folder)
    return open_prepared(request.param, shared_dir / "data", prepared_root=root, image_size=SIZE)


class TestDatasetContract:
    def test_shape_and_classes_are_the_catalogues(self, prepared: PreparedData) -> None:
        info = CATALOG[prepared.name]
        assert prepared.num_classes == len(prepared.class_names) == len(set(prepared.class_names)) == info.num_classes
        assert (prepared.channels, prepared.image_size) == (info.channels, SIZE)
        assert (prepared.mean, prepared.std) == (info.mean, info.std)

    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    def test_every_split_has_every_class_and_uint8_images(self, prepared: PreparedData, split: str) -> None:
        rows = prepared.split(split)
        assert rows.labels.dtype == np.int64
        assert np.array_equal(np.unique(rows.labels), np.arange(prepared.num_classes))
        images = rows.images(np.array([len(rows) - 1, 0, 0]))
        assert images.dtype == torch.uint8
        assert images.shape == (3, prepared.channels, SIZE, SIZE)
        assert torch.equal(images[1], images[2])

    def test_train_and_validation_share_the_rows_that_train_alone_has(self, prepared: PreparedData) -> None:
        whole = prepared.split("train", val_fraction=0.0)
        train, validation = (prepared.split(name, val_fraction=0.2) for name in ("train", "validation"))
        assert len(train) + len(validation) == len(whole)
        both = np.bincount(train.labels) + np.bincount(validation.labels)
        assert np.array_equal(both, np.bincount(whole.labels))

    def test_normalised_training_images_are_centred(self, prepared: PreparedData) -> None:
        train = prepared.split("train")
        inputs = normalise(train.images(np.arange(min(500, len(train)))), prepared.mean, prepared.std, torch.float32)
        assert inputs.dtype == torch.float32
        # ImageNet's statistics are not these data sets' own: the mean lands within one deviation, no closer.
        assert abs(float(inputs.mean())) < 1 and 0.5 < float(inputs.std()) < 2
