"""What a patch takes (`study export RUN --patch`): by the share of weights that flips, or of a study's own runs.

    python -m benchmarks.patches            11.2 million weights that flip independently
    python -m benchmarks.patches STUDY      each data set and method of a study's folder that was fine-tuned, means
                                            over its confirmation runs

Of a study the flips are those that its log holds, layer by layer, as if they lay at random, which is what the code is
made for: positions that hang together take less. Beside them a patch holds the real parameters, batch norm's running
statistics and the head, all of which a run moves. `whole` is the export that needs no pretrained file.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.step import input_shape
from study.record.file_names import LOG_FILE
from study.record.study_log import TrialRecord, fold, read_events
from trainers.binary.flip_codes import decode, encode, entropy_bits
from trainers.binary.layers import binary_sizes
from trainers.config import TrialConfig
from trainers.learner import new_model

WEIGHTS = 11_200_000
SHARES = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 0.5)


def lines(weights: int = WEIGHTS) -> list[str]:
    """A header and a line for each share."""
    draws = np.random.default_rng(1).random(weights)
    found = [f"{'flipped':>8} {'kB':>8} {'bits a weight':>14} {'entropy':>8}"]
    for share in SHARES:
        code = encode(draws < share)
        assert (decode(code) == (draws < share)).all()
        bits, least = 8 * code.nbytes / weights, entropy_bits(weights, code.count) / weights
        found.append(f"{share:>8.2%} {code.nbytes / 1e3:>8.1f} {bits:>14.4f} {least:>8.4f}")
    return found


def confirmed(trials: Iterable[TrialRecord]) -> dict[tuple[str, str], list[TrialRecord]]:
    """The confirmation runs of which it is known what they flipped, by data set and method."""
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in trials:
        if trial.phase == "confirm" and trial.flipped_by_layer:
            groups.setdefault((trial.config["dataset"], trial.method), []).append(trial)
    return groups


def lines_of_study(log: Path) -> list[str]:
    """A table of the fine-tuned runs that a study's log confirms, by data set and method."""
    groups = confirmed(trial for trial in fold(read_events(log)).values() if trial.config.get("pretrained"))
    found = [
        "| data set | method | runs | flipped | flips, kB | real, kB | patch, kB | whole, kB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (dataset, method), trials in groups.items():
        layers, real = network_of(trials[0].config)
        weights = sum(layers.values())
        flips = fmean(flip_bytes(trial.flipped_by_layer, layers) for trial in trials)
        share = fmean(
            sum(trial.flipped_by_layer[name] * size for name, size in layers.items()) / weights for trial in trials
        )
        found.append(
            f"| {dataset} | `{method}` | {len(trials)} | {share:.2%} | {flips / 1e3:.1f} "
            f"| {real / 1e3:.1f} | {(flips + real) / 1e3:.1f} | {(weights / 8 + real) / 1e3:.1f} |"
        )
    return found


def flip_bytes(shares: Mapping[str, float], sizes: Mapping[str, int]) -> int:
    """Bytes of the codes of each layer's share of flips, at random places."""
    draws = np.random.default_rng(1)
    return sum(encode(draws.random(size) < shares[name]).nbytes for name, size in sizes.items())


def network_of(values: Mapping[str, Any]) -> tuple[dict[str, int], int]:
    """Of a recorded configuration's network: the weights of each binary layer, and the bytes of all that is real."""
    config = TrialConfig.from_dict(values)
    shape = input_shape(config)
    model = new_model(config, shape.num_classes, shape.channels, shape.image_size)
    binary = binary_sizes(model)
    latent = {f"{name}.weight" for name in binary}
    real = [tensor for name, tensor in model.state_dict().items() if name not in latent]
    return binary, sum(tensor.numel() * tensor.element_size() for tensor in real)


def main(arguments: Sequence[str]) -> int:
    print("\n".join(lines_of_study(Path(arguments[0]) / LOG_FILE) if arguments else lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
