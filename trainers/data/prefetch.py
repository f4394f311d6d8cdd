"""Batches gathered ahead of the step that uses them, by one thread.

    with closing(gathered(split, batches, device)) as ahead:
        for images, labels in ahead:
            ...

While a step runs, the next batch is decoded or copied out of the mapped file; for a GPU it is laid into pinned memory,
from which the device fetches it while the host goes on. Never more than one batch waits. Decoded rows on a CPU are one
copy of memory and are gathered in place: handing them over would cost more than the copy.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from trainers.data.loader import Split

Batch = tuple[Tensor, Tensor]
"""uint8 (B, C, H, W) and int64 (B,), both on the CPU."""


def gathered(split: Split, batches: Sequence[np.ndarray], device: torch.device) -> Generator[Batch, None, None]:
    """Images and labels of each batch of row numbers, in order; the generator is to be closed when it is left early.

    Args:
        split: whose rows they are.
        batches: row numbers within the split, (B,) each.
        device: that computes with them; for a GPU the batches lie in pinned memory.

    Raises:
        UserError: a picture cannot be read; raised where its batch is asked for, not before.
    """
    pinned = device.type == "cuda"

    def gather(rows: np.ndarray) -> Batch:
        images, labels = split.images(rows), torch.from_numpy(split.labels[rows])
        return (images.pin_memory(), labels.pin_memory()) if pinned else (images, labels)

    if not batches or not (pinned or split.encoded):
        yield from map(gather, batches)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="next-batch") as thread:
        coming = thread.submit(gather, batches[0])
        for rows in batches[1:]:
            batch = coming.result()
            coming = thread.submit(gather, rows)
            yield batch
        yield coming.result()
