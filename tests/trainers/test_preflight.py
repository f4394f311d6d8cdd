"""What is refused before any work starts."""

from pathlib import Path

import pytest

from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.preflight import preflight


def test_a_validation_part_of_no_image_is_refused_before_work_starts(tmp_path: Path) -> None:
    """Or the first evaluation would divide by zero."""
    config = TrialConfig(
        "Digits", "MLP", "bop", hid_dim=16, depth=2, batch_size=32, val_fraction=1e-4, data_root=str(tmp_path)
    )
    with pytest.raises(UserError, match=r"val_fraction 0\.0001 of the .* training images of .* leaves none to"):
        preflight(config)
