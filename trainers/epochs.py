"""The order of a run's images: the batches of each epoch, a function of (seed, epoch) alone."""

import numpy as np

from trainers.config import TrialConfig
from trainers.methods.draws import derived_seed


def epoch_batches(count: int, config: TrialConfig, epoch: int) -> list[np.ndarray]:
    """The global batches of epoch 0, 1, ...: a permutation of `count` images seeded by (seed, epoch), cut in order.

    The last batch may be smaller; it is left out where it could not give every worker an image or has only one in all,
    of which batch statistics cannot be taken.
    """
    order = np.random.default_rng(derived_seed(config.seed, "order", epoch)).permutation(count)
    batches = [order[start : start + config.batch_size] for start in range(0, count, config.batch_size)]
    if len(batches) > 1 and len(batches[-1]) < max(2, config.workers):
        batches.pop()
    return batches


def measured_step_number(count: int, config: TrialConfig) -> int:
    """Which step of a run on `count` images is measured: the first after step 0 that has a full batch.

    In step 0 an optimizer's state is made; a smaller last batch takes less memory. Without such a step it is step 0.
    """
    sizes = [len(batch) for batch in epoch_batches(count, config, 0)]
    ahead = sizes[1:] + (sizes[:1] if config.epochs > 1 else [])
    return next((number for number, size in enumerate(ahead, start=1) if size == sizes[0]), 0)
