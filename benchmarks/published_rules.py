"""Do the update rules learn what the published code's rules learn? Test accuracy on a subset of MNIST, beside its
figures.

    python benchmarks/published_rules.py --data-root DIR [--seeds 1 2 3] [--json]

DIR holds the data set MNIST (10,000 training and 2,000 test images of it, as Parquet, for the published ranges to
apply). Setting: image_size 28, MLP hid_dim 512 depth 3, batch 96, 10 epochs, all of train trained on. The published
ranges are over three seeds, evaluated in training mode (each prediction depends on its batch); ours use evaluation
mode.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.config import TrialConfig
from trainers.host import run_local

TITLE = "MNIST (10k/2k subset)"


@dataclass(frozen=True)
class Case:
    """One rule: its settings and the test accuracies, in percent, that the published code reached over three seeds."""

    name: str
    settings: dict[str, Any]
    published: tuple[float, float]


CASES = (
    Case("Adam lr 1e-3", {"algorithm": "real", "optimizer": "Adam", "lr": 1e-3}, (95.5, 96.3)),
    Case("Bop lr 1e-3", {"algorithm": "bop", "lr": 1e-3}, (94.9, 95.2)),
    Case("SGD lr 1.0", {"algorithm": "real", "optimizer": "SGD", "lr": 1.0}, (93.2, 93.9)),
    Case("BinSFO EWM/gaussian lr 1.0", {"algorithm": "binary", "scheduler_type": "gaussian", "lr": 1.0}, (85.6, 86.4)),
    Case("BinSFO EWM/const lr 1.0", {"algorithm": "binary", "scheduler_type": "const", "lr": 1.0}, (78.2, 78.9)),
)


def configuration(case: Case, seed: int, data_root: str, prepared_root: str | None = None) -> TrialConfig:
    """The published setting of one case."""
    return TrialConfig(
        dataset="MNIST",
        model="MLP",
        image_size=28,
        hid_dim=512,
        depth=3,
        batch_size=96,
        epochs=10,
        val_fraction=0.0,
        test=True,
        device="cpu",
        seed=seed,
        data_root=data_root,
        prepared_root=prepared_root,
        **case.settings,
    )


def test_accuracy(case: Case, seed: int, data_root: str, prepared_root: str | None = None) -> float:
    """Train one case with one seed; the accuracy on the test set in percent."""
    with tempfile.TemporaryDirectory() as folder:
        final = run_local(configuration(case, seed, data_root, prepared_root), Path(folder))
    return 100 * float(final["test_accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--prepared-root")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", action="store_true", help="one JSON line a rule instead of the table")
    options = parser.parse_args()
    if not options.json:
        print(f"{TITLE}, MLP 512x3, test accuracy in %, seeds {options.seeds}")
        print(f"{'rule':<28}{'ours: mean':>12}{'min - max':>16}{'published':>16}")
    for case in CASES:
        values = [test_accuracy(case, seed, options.data_root, options.prepared_root) for seed in options.seeds]
        low, high = case.published
        if options.json:
            print(json.dumps({"rule": case.name, "test_accuracy": values, "published": case.published}), flush=True)
        else:
            spread = f"{min(values):.2f} - {max(values):.2f}"
            print(f"{case.name:<28}{statistics.mean(values):>12.2f}{spread:>16}{f'{low} - {high}':>16}", flush=True)


if __name__ == "__main__":
    main()
