"""torchvision imports beside the torch that is installed, and a run on prepared data never imports it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]


def run(script: str) -> str:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def test_datasets_transforms_and_models_import_in_a_fresh_process() -> None:
    script = (
        "from trainers.torchvision_compat import torchvision_module as load\n"
        "for name in ('datasets', 'transforms.v2', 'models'):\n"
        "    load('torchvision.' + name)\n"
        "import torchvision; print(torchvision.__version__)"
    )
    assert run(script).strip()


def test_prepared_data_need_no_torchvision(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from trainers.data.loader import open_prepared\n"
        f"open_prepared('Digits', {str(tmp_path)!r}).split('train').images([0])\n"
        "print('torchvision' in sys.modules)"
    )
    assert run(script).strip() == "False"
