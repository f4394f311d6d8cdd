"""`python -m study pretrain`: a pretrained file of one's own, for any model and data set."""

import argparse
import json
import shlex
from pathlib import Path

from study.cli.arguments import Parser, add_config_options, add_option, config_values, refuse_foreign
from study.cli.output import add_output_options
from study.record.terminal import say
from trainers.config import TrialConfig
from trainers.registry import METHODS, method_named

ALGORITHM, OPTIMIZER = "real", "Adam"


def add_settings(parser: Parser) -> None:
    """The settings of every run, of the models and of training in real space."""
    own = {setting.name for setting in method_named(ALGORITHM).settings}
    others = {setting.name for method in METHODS.all().values() for setting in method.settings} - own
    add_config_options(parser, leave_out=("algorithm", "test", *others))


def add_output(parser: Parser) -> None:
    """Where the file goes, and how it is told to programs."""
    add_option(parser, "output", default="pretrained", metavar="DIR", help="where the file goes (default: pretrained)")
    add_output_options(parser, last="the file's path")


def run(options: argparse.Namespace) -> int:
    """Train one network in real space and write it, binarized, as a file that `--pretrained` takes."""
    values = {"optimizer": OPTIMIZER, **config_values(options)}
    refuse_foreign(values, ALGORITHM, values["model"])
    config = TrialConfig(algorithm=ALGORITHM, **values)
    from study.drive.pretrain import pretrain

    path = pretrain(config, Path(options.output))
    say(f"use it: --pretrained {shlex.quote(str(path))}, in a study file fixed: {{pretrained: {path}}}", important=True)
    if options.json:
        print(json.dumps({"pretrained": str(path)}))
    return 0
