"""The command line's words: settings as options, and a parser whose complaints read like all others.

Every setting that anything declares (`trainers.settings`, each method and model, plug-ins) is an option of the same
name, with hyphens or underscores. An option that is not given is absent from the result, so that a sweep can tell what
the user fixed from what it may search.
"""

import argparse
from collections.abc import Iterable
from typing import Any, NoReturn

from trainers.errors import UserError
from trainers.registry import METHODS, MODELS, declared, foreign, method_named, model_named, owners
from trainers.settings import Setting


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
    """Add every declared setting as an option; those without a default are required."""
    for name, setting in declared().items():
        if name in leave_out:
            continue
        common = {"default": argparse.SUPPRESS, "help": _help(setting).replace("%", "%%")}
        if setting.kind is bool:
            add_option(parser, name, action="store_true", **common)
        else:
            metavar = {int: "N", float: "X", str: "TEXT"}[setting.kind]
            add_option(parser, name, type=setting.kind, required=not setting.optional, metavar=metavar, **common)


def config_values(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line gave."""
    return {name: value for name, value in vars(options).items() if name in declared()}


def refuse_foreign(values: Iterable[str], algorithm: str, model: str) -> None:
    """Raise `UserError` for options that are settings of another method or model, or an unknown one of these."""
    method_named(algorithm, "algorithm")
    model_named(model)
    if told := "; ".join(foreign(values, algorithm, model)):
        raise UserError(told)


def _help(setting: Setting) -> str:
    """What a setting is, which names there are, whose it is, and what it is where it is not given."""
    known = {"model": MODELS.all(), "algorithm": METHODS.all()}.get(setting.name, {})
    names = f": {', '.join(known)}" if known else ""
    whose = f" (of {', '.join(owners(setting.name))})" if owners(setting.name) else ""
    silent = not setting.optional or setting.kind is bool or setting.default is None
    return setting.help + names + whose + ("" if silent else f" (default: {setting.default})")
