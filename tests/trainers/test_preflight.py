"""What is refused before any work starts."""

import pytest

from trainers import preflight as checking
from trainers.config import TrialConfig
from trainers.errors import UserError


class OneImageAClass:
    """Data of which no image can be spared for validation."""

    name, image_size = "Own", 8

    def split(self, name: str, fraction: float, train_per_class: int | None) -> range:
        return range(100 if name == "train" else 0)


def test_a_validation_part_of_no_image_is_refused_before_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the first evaluation would divide by zero."""
    monkeypatch.setattr(checking, "data_of", lambda config: OneImageAClass())
    config = TrialConfig("Digits", "MLP", "bop", hid_dim=16, depth=2, batch_size=32, val_fraction=0.1)
    with pytest.raises(UserError, match=r"val_fraction 0\.1 of the training images of Own leaves none to validate"):
        checking.preflight(config)
