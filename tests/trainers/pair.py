"""Two worker processes for a test, forked from one that has torch and the trainers imported: that takes seconds."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp

multiprocessing.get_context("forkserver").set_forkserver_preload(["trainers.worker", "torch.distributed"])


def run_pair(work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(rank, *arguments)` in a process each for the ranks 0 and 1; an error in one is raised here."""
    mp.start_processes(work, arguments, nprocs=2, start_method="forkserver")
