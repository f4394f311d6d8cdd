"""How long training and evaluation take here: a step and a batch of random images, timed, at two sizes of the batch.

    seconds of a step of B images = fixed + B · each

What does not grow with the batch (flipping the weights, moving the optimizer's state) is told apart from what does, so
that a step too large for this machine can be timed by two smaller ones.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from trainers.config import TrialConfig
from trainers.host import device_of
from trainers.learner import InputShape, Learner
from trainers.replicas import Replicas


@dataclass(frozen=True)
class Pace:
    """A line through two timed batches.

    Attributes:
        fixed: seconds that a batch takes however small it is, at least 0.
        each: seconds an image.
    """

    fixed: float
    each: float

    def seconds(self, images: int) -> float:
        """Of one batch."""
        return self.fixed + images * self.each


@dataclass(frozen=True)
class Paces:
    """What one worker of a run takes.

    Attributes:
        step: of training.
        evaluation: in evaluation mode, the classes named.
        device: where it was timed, `cpu` or `cuda`.
    """

    step: Pace
    evaluation: Pace
    device: str


def paces(config: TrialConfig, shape: InputShape, batches: tuple[int, int], repeats: int = 2) -> Paces:
    """Time training steps and evaluation of two batches, `repeats` times each after one that is not counted.

    Args:
        config: the run; of its workers one is timed.
        shape: of its images.
        batches: a smaller and a larger number of images, both at least 2.
        repeats: the median of so many counts.
    """
    torch.set_num_threads(config.threads)
    device = device_of(config)
    learner = Learner(config.replace(workers=1, pretrained=None), shape, Replicas(), device)
    learner.rule.total_steps = 1_000_000
    steps = 0

    def timed(call: Callable[[], object]) -> float:
        found = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            found.append(time.perf_counter() - started)
        return statistics.median(found[1:])

    def measured(images: int) -> tuple[float, float]:
        nonlocal steps
        batch, labels = shape.random_batch(images, seed=1)

        def step() -> None:
            nonlocal steps
            learner.train_step(batch, labels, steps, images, 0)
            steps += 1

        learner.start_epoch(0)
        training = timed(step)
        learner.model.eval()
        return training, timed(lambda: learner.answers(batch, 1))

    (small_step, small_answer), (large_step, large_answer) = (measured(images) for images in batches)
    return Paces(_line(batches, small_step, large_step), _line(batches, small_answer, large_answer), device.type)


def _line(batches: tuple[int, int], small: float, large: float) -> Pace:
    """Through both points; where noise makes the smaller batch the slower one, all is put down to the images."""
    each = (large - small) / (batches[1] - batches[0])
    if each <= 0 or small < batches[0] * each:
        return Pace(0.0, large / batches[1])
    return Pace(small - batches[0] * each, each)
