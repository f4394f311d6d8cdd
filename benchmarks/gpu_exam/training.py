"""A short real training on both devices: the digits that are carried along, the same configuration and seed."""

import tempfile
import time
from pathlib import Path

from benchmarks.gpu_exam.parts import Record
from trainers.config import TrialConfig
from trainers.data.prepare import prepare
from trainers.host import run_local

DIGITS = Path(__file__).with_name("digits.parquet")
"""scikit-learn's digits (UCI, CC BY 4.0): 1,797 grey images of 8x8 pixels as PNG, with their labels."""

RUNS = {
    "MLP 512x3, real Adam": {"model": "MLP", "algorithm": "real", "optimizer": "Adam", "hid_dim": 512, "depth": 3},
    "MLP 512x3, binary 4 bits": {
        "model": "MLP", "algorithm": "binary", "inertia_bits": 4, "scheduler_type": "relative", "temperature": 0.3,
        "anneal": "cosine", "hid_dim": 512, "depth": 3, "activation_memory": "packed",
    },
    "AdamBNN x0.25, 32 pixels, binary 4 bits": {
        "model": "AdamBNN", "algorithm": "binary", "inertia_bits": 4, "scheduler_type": "relative", "temperature": 0.3,
        "anneal": "cosine", "width": 0.25, "image_size": 32, "activation_memory": "packed",
    },
}  # fmt: skip


def digits(root: Path, **settings: object) -> TrialConfig:
    """A run on the digits, which are prepared below `root` where they are not yet."""
    defaults = {
        "dataset": str(DIGITS),
        "batch_size": 96,
        "data_root": str(root),
        "prepared_root": str(root),
        "lr": 1e-3,
    }
    config = TrialConfig.from_dict({**defaults, **settings})
    prepare(config.dataset, config.data_root, prepared_root=config.prepared_root, image_size=config.image_size)
    return config


def both_devices(rehearsal: bool, record: Record) -> None:
    """Test accuracy and flips a step by device; a GPU's sums run in another order, so the runs need not be equal."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, settings in list(RUNS.items())[: 2 if rehearsal else None]:
            row: dict[str, float] = {}
            for device in ("cpu",) if rehearsal else ("cuda", "cpu"):
                epochs = 2 if rehearsal else 8
                config = digits(
                    root, **settings, device=device, epochs=epochs, test=True, threads=1 if rehearsal else 4
                )
                started = time.perf_counter()
                metrics = run_local(config, root / f"{name}-{device}")
                row[f"{device}: test %"] = 100 * metrics["test_accuracy"]
                row[f"{device}: flips a step, %"] = 100 * metrics["flip_rate"]
                row[f"{device}: s"] = time.perf_counter() - started
            record(name, row)
