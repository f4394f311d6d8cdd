"""The command line's words: `TrialConfig` fields as options, and a parser whose complaints read like all others.

Every field of a configuration is an option of the same name, with hyphens or underscores. An option that is not given
is absent from the result, so that a sweep can tell what the user fixed from what it may search.
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Iterable
from typing import Any, NoReturn

from trainers.config import (
    ACTIVATION_MEMORY,
    ALGORITHMS,
    ANNEALS,
    APPROXIMATIONS,
    MASK_TYPES,
    MODELS,
    OPTIMIZERS,
    SCHEDULER_TYPES,
    WEIGHT_SCALES,
    TrialConfig,
)
from trainers.errors import UserError

_HELP = {
    "dataset": "a name of the catalog, or the path of your own Parquet file or class folder",
    "model": ", ".join(MODELS),
    "algorithm": ", ".join(ALGORITHMS),
    "mask_type": f"BinSFO's mask: {', '.join(MASK_TYPES)}",
    "scheduler_type": f"BinSFO's temperature scheduler: {', '.join(SCHEDULER_TYPES)}",
    "temperature": "BinSFO's first temperature; without it the learning rate sets the temperature",
    "inertia_bits": "of each weight's counter under BinSFO: 2, 4 or 8, or 0 for the paper's rule",
    "anneal": f"course of BinSFO's temperatures over the run: {', '.join(ANNEALS)}",
    "batch_size": "images a step, over all workers",
    "epochs": "passes over the training images",
    "lr": "learning rate",
    "hid_dim": "hidden width of the MLP",
    "depth": "binary layers of the MLP",
    "xnor": "the same as --weight_scale layer",
    "weight_scale": f"constant factor of binary weights: {', '.join(WEIGHT_SCALES)}",
    "approx": f"gradient of the sign activation: {', '.join(APPROXIMATIONS)}",
    "freeze_num": "first modules of `feature` that are not trained",
    "optimizer": f"of algorithm real: {', '.join(OPTIMIZERS)}",
    "bop_threshold": "momentum above which Bop flips",
    "bop_momentum_bits": "of Bop's m: 32, or 16 (stochastically rounded)",
    "activation_memory": f"what is kept for backward: {', '.join(ACTIVATION_MEMORY)}",
    "seed": "of every random draw",
    "test": "open the test set once, after the last epoch",
    "image_size": "side in pixels (default: the paper's for the catalog's sets, native for your own)",
    "width": "multiplier of every convolution's channels",
    "workers": "data-parallel workers; each takes its share of a batch",
    "threads": "CPU threads of one worker",
    "device": "auto, cpu or cuda",
    "data_root": "folder of the data sets' sources",
    "prepared_root": "folder of prepared data (default: beside the sources)",
    "pretrained": "the authors' pretrained checkpoint",
    "val_fraction": "share of train held out as validation; 0 trains on all of it",
    "check": "after every step, check that memory holds what the algorithm says, and end with an error if not",
}


class Parser(argparse.ArgumentParser):
    """A parser that raises `UserError` instead of ending the process, and takes no abbreviated options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def add_option(parser: argparse.ArgumentParser, name: str, **kwargs: Any) -> None:
    """Add `--some_name` with its other spelling, `--some-name`."""
    hyphens, underscores = f"--{name.replace('_', '-')}", f"--{name.replace('-', '_')}"
    parser.add_argument(*dict.fromkeys([hyphens, underscores]), dest=name.replace("-", "_"), **kwargs)


def add_config_options(parser: argparse.ArgumentParser, leave_out: Iterable[str] = ()) -> None:
    """Add every field of `TrialConfig` as an option; those without a default are required."""
    hints = typing.get_type_hints(TrialConfig)
    for entry in dataclasses.fields(TrialConfig):
        if entry.name in leave_out:
            continue
        kind = _plain(hints[entry.name])
        required = entry.default is dataclasses.MISSING
        told = "" if required or kind is bool or entry.default is None else f" (default: {entry.default})"
        common = {"default": argparse.SUPPRESS, "help": _HELP[entry.name] + told}
        if kind is bool:
            add_option(parser, entry.name, action="store_true", **common)
        else:
            metavar = {int: "N", float: "X", str: "TEXT"}[kind]
            add_option(parser, entry.name, type=kind, required=required, metavar=metavar, **common)


def config_values(options: argparse.Namespace) -> dict[str, Any]:
    """The `TrialConfig` fields that the command line gave."""
    names = {entry.name for entry in dataclasses.fields(TrialConfig)}
    return {name: value for name, value in vars(options).items() if name in names}


def _plain(hint: Any) -> type:
    """`float` of `float | None`."""
    if isinstance(hint, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint
