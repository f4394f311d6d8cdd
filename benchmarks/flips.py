"""What each method of a study flips: how often, how much of it for good, in which layers, and how well it fits then.

    python -m benchmarks.flips STUDY        STUDY: a folder with the log of a study, `results/six-datasets/so-far` too

Means over a cell's confirmation runs. *Flips*: the flips of all steps, a weight. *Flipped*: the share of the weights
that end on the other side of where they began. *Undone*: 1 - flipped / flips, the share of flips that later ones took
back. *First*, *middle* and *last*: the share flipped of the weights in each third of the binary layers, in their order
in the network. *Loss*: of training, in the last epoch.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from benchmarks.patches import confirmed, network_of
from study.record.file_names import LOG_FILE
from study.record.study_log import TrialRecord, fold, read_events


def lines(trials: Iterable[TrialRecord]) -> Iterator[str]:
    """The table, in Markdown, by data set and method."""
    yield "| data set | method | runs | flips | flipped | undone | first | middle | last | loss |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for (dataset, method), runs in confirmed(trials).items():
        flips, flipped, loss = (
            fmean(run.metrics[name] for run in runs) for name in ("flips_per_weight", "flipped_share", "train_loss")
        )
        if not flips:
            continue  # a control
        sizes, _ = network_of(runs[0].config)
        parts = [fmean(share) for share in zip(*(thirds(run.flipped_by_layer, sizes) for run in runs), strict=True)]
        shown = " | ".join(f"{part:.2%}" for part in parts)
        yield (
            f"| {dataset} | `{method}` | {len(runs)} | {flips:.4f} | {flipped:.2%} | {1 - flipped / flips:.0%} "
            f"| {shown} | {loss:.2f} |"
        )


def thirds(shares: Mapping[str, float], sizes: Mapping[str, int]) -> tuple[float, float, float]:
    """The share of weights flipped in the first, the middle and the last third of the layers."""
    names = list(sizes)
    cuts = [round(len(names) * part / 3) for part in range(4)]
    found = []
    for begin, end in pairwise(cuts):
        part = names[begin:end]
        found.append(sum(shares[name] * sizes[name] for name in part) / max(1, sum(sizes[name] for name in part)))
    first, middle, last = found
    return first, middle, last


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m benchmarks.flips STUDY", file=sys.stderr)
        return 2
    print("\n".join(lines(fold(read_events(Path(arguments[0]) / LOG_FILE)).values())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
