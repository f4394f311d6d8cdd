"""Time and memory of one training step on random images, for any configuration; no data set is needed.

    python -m benchmarks.step --dataset CIFAR10 --model AdamBNN --algorithm binary --batch-size 8 [--repeats 5]

Takes every option of `python -m study train`. Prints one JSON object: seconds (median over the repeats after a warm-up
step), images_per_second, peak_memory_bytes and memory (its categories, at the moment of the peak), predicted_memory
with --predict, and what was run on what. A data set of the catalog gives classes, channels and image size; otherwise
give --num-classes, --channels and --image-size.
"""

import argparse
import json
import statistics
import sys
import time

import torch

from trainers.config import TrialConfig
from trainers.data.catalog import lookup
from trainers.errors import UserError
from trainers.host import device_of
from trainers.learner import InputShape, Learner
from trainers.memory.measure import measured_step
from trainers.memory.predict import predict_step
from trainers.memory.report import MemoryReport
from trainers.models import check_image_size
from trainers.replicas import Replicas


def input_shape(config: TrialConfig, num_classes: int | None = None, channels: int | None = None) -> InputShape:
    """What the configuration's images look like, by the catalog where it knows the data set.

    Raises:
        UserError: something is given by neither the catalog nor an argument, or the model cannot take such images.
    """
    info = lookup(config.dataset)
    classes = num_classes or (info.num_classes if info else None)
    depth = channels or (info.channels if info else 3)
    side = config.image_size or (info.image_size if info else None)
    if classes is None or side is None:
        lacking = "--num-classes" if classes is None else "--image-size"
        raise UserError(f"{config.dataset!r} is not in the catalog, so its shape is not known; give {lacking} too")
    check_image_size(config.model, side)
    return InputShape(classes, depth, side)


class TrainingStep:
    """Calling it runs the next training step and returns its loss, on a GPU before it has been worked out.

    Attributes:
        learner: what is trained, with one worker.
        images: the one random batch, uint8 (N, C, H, W); labels go round the classes.
    """

    def __init__(self, config: TrialConfig, shape: InputShape) -> None:
        torch.set_num_threads(config.threads)
        self.config = config
        self.learner = Learner(config, shape, Replicas(), device_of(config))
        self.learner.start_epoch(0)
        self.images, self.labels = shape.random_batch(config.batch_size, config.seed)
        self.steps = 0

    def __call__(self) -> float | torch.Tensor:
        self.steps += 1
        return self.learner.train_step(self.images, self.labels, self.steps - 1, self.config.batch_size, 0)

    def lean_adam(self) -> None:
        """Let Adam update in one pass (`fused=True`) instead of an operation after the other; before the first step."""
        rule = self.learner.rule
        if not isinstance(rule.optimizer, torch.optim.Adam):
            raise UserError(f"a lean Adam is asked of {self.config.method}, which has no Adam; use real with Adam")
        groups = [{"params": group["params"], "lr": group["lr"]} for group in rule.optimizer.param_groups]
        rule.optimizer = torch.optim.Adam(groups, fused=True)

    def memory(self) -> MemoryReport:
        """Run the next step under measurement; after the first step, which makes the optimizer's state."""
        if self.steps == 0:
            self()
        return measured_step(self, self.learner)[1]

    def seconds(self, repeats: int) -> list[float]:
        """Wall time of each of `repeats` steps after one that is not counted."""
        if repeats < 1:
            raise UserError(f"repeats is {repeats}; time at least 1 step")
        self()
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            float(self())  # a GPU has finished when its loss is read
            times.append(time.perf_counter() - started)
        return times


def make_step(config: TrialConfig, num_classes: int | None = None, channels: int | None = None) -> TrainingStep:
    """A callable that runs one training step of `config` on random data of the right shape.

    Raises:
        UserError: the shape is not known (see `input_shape`), or there are several workers.
    """
    if config.workers != 1:
        raise UserError(f"{config.workers} workers: this times one; give one worker its share as --batch-size")
    return TrainingStep(config, input_shape(config, num_classes, channels))


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit status."""
    # Only the command line needs them: `make_step` works where nothing but the trainers' own packages is installed.
    from study.cli.arguments import Parser, add_config_options, add_option, config_values
    from study.record.provenance import provenance

    parser = Parser(
        prog="python -m benchmarks.step", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_config_options(parser)
    add_option(parser, "num_classes", type=int, metavar="N", help="classes, of a data set outside the catalog")
    add_option(parser, "channels", type=int, metavar="N", help="of an image (default: the catalog's, else 3)")
    add_option(parser, "repeats", type=int, default=5, metavar="N", help="steps timed (default: 5)")
    parser.add_argument("--predict", action="store_true", help="print the predicted memory beside the measured")
    try:
        options = parser.parse_args(arguments)
        config = TrialConfig(**config_values(options))
        step = make_step(config, options.num_classes, options.channels)
        times = step.seconds(options.repeats)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    memory = step.memory()
    seconds = statistics.median(times)
    outcome = {
        "seconds": seconds,
        "images_per_second": config.batch_size / seconds,
        "peak_memory_bytes": memory.total,
        "memory": memory.by_category(),
        "seconds_of_each": times,
        "device": str(step.learner.device),
        "config": config.to_dict(),
        **provenance(),
    }
    if options.predict:
        shape = input_shape(config, options.num_classes, options.channels)
        predicted = predict_step(config, shape.num_classes, shape.channels, shape.image_size)
        outcome["predicted_memory"] = {"total": predicted.total, **predicted.by_category()}
    print(json.dumps(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
