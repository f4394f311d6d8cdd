"""`python -m study`: the commands that run, plan, compare, report, show and mend studies; `--help` lists them.

A problem that the user can mend ends with one line on stderr and exit status 2, Ctrl-C with one line and 130. What is
heavy to import (torch, Ray, MLflow) is imported by the command that needs it, so that `--help` answers at once.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from study.cli import commands, status, studies, submit
from study.cli import pretrain as pretraining
from study.cli.arguments import Parser, add_config_options, add_option
from study.cli.output import add_output_options, display_of
from study.cli.prepare import prepare as prepare_data
from study.drive.interrupt import INTERRUPTED
from study.record.display import use
from trainers.errors import StoppedError, UserError
from trainers.plugins import load_plugin


def parser(command: str = "") -> Parser:
    """The whole command line.

    Args:
        command: the one that was typed. What a run's settings are is known to the methods and models, which take
            seconds to import, so that only a command that takes them is given those options.
    """
    prog = "binsfo" if Path(sys.argv[0]).name == "binsfo" else "python -m study"
    whole = Parser(prog=prog, description=__doc__.splitlines()[0] if __doc__ else None)
    subparsers = whole.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    run = _command(subparsers, "run", "a whole study: prepare, sweep, confirm, compare", commands.run)
    run.add_argument("study", metavar="STUDY", help="a preset (quickstart, six-datasets, paper) or a study file (YAML)")
    _add_output(run, "studies/<name of the study>")
    _add_data_options(run)
    _add_study_options(run, "fetch data sets that are not on disk")
    run.add_argument(
        "--simulate",
        metavar="DIR",
        nargs="?",
        const="synthetic",
        help="train nothing: synthetic learning curves, or those that the study in DIR has recorded",
    )
    add_option(run, "device_memory", metavar="SIZE", help="with --simulate: above it a run is out of memory (16GiB)")
    _add_reopen_switch(run)
    add_output_options(run)

    text = "run a study on a cluster that `ray up` started: send what it names, follow it, fetch its results"
    sent = _command(subparsers, "submit", text, submit.command)
    sent.add_argument("cluster", metavar="CLUSTER.yaml", help="the file that `ray up` was given")
    sent.add_argument("study", metavar="STUDY", help="a preset or a study file (YAML)")
    sent.add_argument("--output", metavar="DIR", help="where the results go (default: studies/<name of the study>)")
    add_option(
        sent, "data_root", metavar="DIR", help="send the catalog's data sets from here (default: the cluster's own)"
    )
    add_option(sent, "dry_run", action="store_true", help="say what would be sent, and how large it is")
    _add_study_options(sent, "let the cluster fetch data sets that it does not have")
    add_output_options(sent)

    plan = _command(subparsers, "plan", "the memory that a study's runs will take, and the time", commands.plan)
    plan.add_argument("study", metavar="STUDY", help="a preset or a study file (YAML)")
    add_option(plan, "device_memory", metavar="SIZE", help="of the device to fill: 16GiB (default: this machine's)")
    plan.add_argument("--time", action="store_true", help="time a step of each cell here: device-hours of the study")
    plan.add_argument("--pilot", metavar="DIR", help="a study that was run: say what its variances let this one decide")
    _add_data_options(plan)

    sweep = _command(subparsers, "sweep", "search one data set, model and algorithm", commands.sweep)
    if command == "sweep":
        add_config_options(sweep, leave_out=("test",))
    add_option(sweep, "trials", type=int, default=20, metavar="N", help="search trials in all (default: 20)")
    add_option(sweep, "temperature_mode", default="decoupled", metavar="TEXT", help="decoupled (default) or coupled")
    _add_asha_switch(sweep)
    _add_at_once(sweep)
    add_option(sweep, "sampler", metavar="NAME", help="tpe (default), random or qmc")
    text = "of tpe: random draws until N trials have ended (default: a quarter of the trials, 4 to 10)"
    add_option(sweep, "startup_trials", type=int, metavar="N", help=text)
    add_option(sweep, "grace_period", type=int, metavar="N", help="epochs before a trial may be stopped (default: 1)")
    add_option(sweep, "reduction_factor", type=int, metavar="N", help="one trial in N goes on at a rung (default: 3)")
    _add_output(sweep, "studies/sweep")
    _add_storage(sweep)
    add_output_options(sweep, last="the best trial")

    train = _command(subparsers, "train", "train one configuration, under Ray Train", commands.train)
    if command == "train":
        add_config_options(train)
    _add_output(train, "studies/train")
    _add_storage(train)
    _add_reopen_switch(train)
    add_output_options(train, last="the final metrics")

    text = "a pretrained network of your own, as --pretrained takes it"
    pretrain = _command(subparsers, "pretrain", text, pretraining.run)
    if command == "pretrain":
        pretraining.add_settings(pretrain)
    pretraining.add_output(pretrain)

    prepare = _command(subparsers, "prepare", "turn data sets into memory-mapped files, once", prepare_data)
    prepare.add_argument("datasets", nargs="+", metavar="DATASET", help="a name of the catalog, or a path")
    _add_data_options(prepare)
    add_option(prepare, "image_size", type=int, metavar="N", help="side in pixels")
    prepare.add_argument("--source", metavar="PATH", help="where the originals lie, if not under the data root")
    prepare.add_argument("--download", action="store_true", help="fetch the original files")
    _add_skip_switch(prepare)
    add_output_options(prepare)

    compare = _command(subparsers, "compare", "table, verdicts and figures of a study", commands.compare)
    compare.add_argument("directory", metavar="DIR", help="the study's folder")
    add_option(compare, "margin", type=float, metavar="POINTS", help="of comparable accuracies (default: the study's)")
    _add_unequal_switch(compare)

    text = "a study's report, as one HTML file and in Markdown; of several studies, all of them side by side"
    report = _command(subparsers, "report", text, commands.report)
    report.add_argument("directories", nargs="+", metavar="DIR", help="the study's folder, or several studies' folders")
    report.add_argument(
        "--output", metavar="DIR", help="the folder to write into (default: the study's; of several, this one)"
    )
    add_option(report, "margin", type=float, metavar="POINTS", help="of comparable accuracies (default: the study's)")
    add_option(report, "no_pictures", action="store_true", help="leave out the test images that methods disagree on")
    _add_unequal_switch(report)

    export = _command(
        subparsers, "export", "a trained run as a folder of packed weights, for prediction", commands.export
    )
    export.add_argument("run", metavar="RUN", help="a run's folder; with --study, its trial id")
    export.add_argument("--study", metavar="DIR", help="the folder of the run's study")
    export.add_argument("--output", metavar="DIR", help="the folder to write (default: export, in the run's folder)")
    which = export.add_mutually_exclusive_group()
    which.add_argument(
        "--last", dest="which", action="store_const", const="last", help="the last epoch, as reported (default)"
    )
    which.add_argument("--best", dest="which", action="store_const", const="best", help="the best epoch on validation")
    export.set_defaults(which="last")
    export.add_argument("--patch", action="store_true", help="only what differs from the pretrained file, bound to it")
    export.add_argument("--base", metavar="FILE", help="with --patch: the pretrained file, if it lies elsewhere by now")
    export.add_argument("--force", action="store_true", help="replace an export that is there already")
    add_option(export, "data_root", metavar="DIR", help="folder of the sources (default: where the run read them)")
    add_option(export, "prepared_root", metavar="DIR", help="folder of prepared data (default: where the run read it)")

    doctor = _command(subparsers, "doctor", "what a study's records disagree on", commands.doctor)
    doctor.add_argument("directory", metavar="DIR", nargs="?", help="the study's folder")
    doctor.add_argument("--repair", action="store_true", help="bring the records together; copies are kept")
    doctor.add_argument(
        "--cluster",
        action="store_true",
        help="look at the nodes of RAY_ADDRESS's cluster instead; with DIR, at the disk they must share too",
    )
    doctor.add_argument("--storage", metavar="URI", help="with --cluster: look whether the nodes reach it too")

    mlflow = _command(subparsers, "mlflow", "show a study in MLflow: deliver what it lacks, or all", commands.mlflow)
    mlflow.add_argument("directory", metavar="DIR", help="the study's folder")
    _add_tracking_uri(mlflow, "deliver there, from now on (default: where it is shown)")

    ui = _command(subparsers, "ui", "open the MLflow pages of a study", commands.ui)
    ui.add_argument("directory", metavar="DIR", help="the study's folder")
    add_option(ui, "port", type=int, default=5000, metavar="N", help="on 127.0.0.1 (default: 5000)")

    state = _command(subparsers, "status", "how far a study has come: done, running, left", status.command)
    state.add_argument("directory", metavar="DIR", help="the study's folder")
    state.add_argument("--watch", action="store_true", help="renew the picture while a command is at work there")
    state.add_argument("--json", action="store_true", help="one JSON object")

    listed = _command(subparsers, "list", "the studies below a folder, and how far each has come", studies.command)
    listed.add_argument("folder", metavar="FOLDER", nargs="?", default="studies", help="default: studies")
    listed.add_argument("--json", action="store_true", help="one JSON object a study and line")

    text = "the JSON schema of study files, for editors to complete and check them by"
    schema = _command(subparsers, "schema", text, commands.schema)
    _add_plugins(
        run, sent, plan, sweep, train, pretrain, prepare, compare, report, export, doctor, mlflow, state, schema
    )
    return whole


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (without the program's name) and return the exit status."""
    try:
        if sys.platform == "win32":
            raise UserError("studies run on Linux and macOS; on Windows, use them within WSL 2")
        words = sys.argv[1:] if arguments is None else arguments
        load_plugins(words)
        options = parser(*words[:1]).parse_args(words)
        with use(display_of(options)):
            return int(options.function(options) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, StoppedError):
        print("\nstopped; what was done is saved, and the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        from trainers.exhaustion import exhausted

        if (lacking := exhausted(error)) is None:
            raise
        print(f"error: {lacking}", file=sys.stderr)
        return 2


def _command(subparsers: "argparse._SubParsersAction[Parser]", name: str, text: str, function: object) -> Parser:
    command = subparsers.add_parser(name, help=text, description=text)
    command.set_defaults(function=function)
    return command


def load_plugins(words: Sequence[str]) -> None:
    """Load the plug-ins that a command line names, before its options are read: they may bring some."""
    files = [after for word, after in pairwise(words) if word == "--plugin"]
    files += [word.partition("=")[2] for word in words if word.startswith("--plugin=")]
    for file in files:
        load_plugin(file)


def _add_plugins(*commands: Parser) -> None:
    text = "load methods, models or data sets of your own from a Python file; may be given several times"
    for command in commands:
        command.add_argument("--plugin", action="append", metavar="FILE.py", default=[], help=text)


def _add_output(command: Parser, default: str) -> None:
    command.add_argument("--output", metavar="DIR", help=f"the study's folder (default: {default})")
    _add_tracking_uri(command, "an MLflow server, or a PostgreSQL that shows MLflow and Optuna the study")


def _add_study_options(command: Parser, download: str) -> None:
    """What may be said of a whole study, wherever it runs."""
    _add_storage(command)
    add_option(command, "trials", type=int, metavar="N", help="search trials a cell (default: as the study says)")
    _add_asha_switch(command)
    _add_at_once(command)
    command.add_argument("--download", action="store_true", help=download)
    _add_skip_switch(command)
    command.add_argument("--check", action="store_true", help="every run checks after each step what memory holds")
    _add_unequal_switch(command)


def _add_storage(command: Parser) -> None:
    text = "what a cluster's nodes share: a path that all of them mount, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
    add_option(command, "storage", metavar="URI", help=text)


def _add_tracking_uri(command: Parser, text: str) -> None:
    add_option(command, "tracking_uri", metavar="URI", help=text)


def _add_reopen_switch(command: Parser) -> None:
    text = "open the test set again where it was opened before; that is recorded"
    add_option(command, "reopen_test", action="store_true", help=text)


def _add_unequal_switch(command: Parser) -> None:
    add_option(
        command, "allow_unequal", action="store_true", help="compare methods though their offered budgets differ"
    )


def _add_data_options(command: Parser) -> None:
    add_option(command, "data_root", default="data", metavar="DIR", help="folder of the sources (default: data)")
    add_option(command, "prepared_root", metavar="DIR", help="folder of prepared data (default: beside the sources)")


def _add_skip_switch(command: Parser) -> None:
    text = "leave out pictures that cannot be read; that is recorded"
    add_option(command, "skip_damaged", action="store_true", help=text)


def _add_asha_switch(command: Parser) -> None:
    command.add_argument(
        "--no-asha", "--no_asha", dest="asha", action="store_false", help="let every trial finish (no early stopping)"
    )


def _add_at_once(command: Parser) -> None:
    text = "most trials side by side; 1 makes a search repeatable (default: as many as fit)"
    add_option(command, "at_once", type=int, metavar="N", help=text)
