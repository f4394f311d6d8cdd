"""`python -m study submit CLUSTER.yaml STUDY`: a study on a cluster that `ray up` has started, from this machine."""

import argparse

from study.cli.checks import check_equal
from study.define.study_file import load_study

SWITCHES = ("download", "skip_damaged", "allow_unequal", "check")
"""Options of `run` without a value that are handed on as they are."""
VALUES = ("trials", "at_once", "storage")
"""Those with one."""


def command(options: argparse.Namespace) -> int:
    """A study sent, run, followed and fetched; the exit status of its job."""
    study = load_study(options.study, trials=options.trials, asha=options.asha, at_once=options.at_once)
    check_equal(study, options.allow_unequal)
    from study.submit.submission import submit

    return submit(
        options.cluster,
        options.study,
        study,
        words=words_of(options),
        plugins=options.plugin,
        data_root=options.data_root,
        output=options.output,
        dry_run=options.dry_run,
    )


def words_of(options: argparse.Namespace) -> list[str]:
    """The options of `run` that were given, as words again."""
    words = [f"--{name.replace('_', '-')}" for name in SWITCHES if getattr(options, name)]
    words += [] if options.asha else ["--no-asha"]
    for name in VALUES:
        if getattr(options, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return words
