"""The command that prepares data sets, once."""

import argparse

from study.record.terminal import Counter, say
from trainers.errors import UserError


def prepare(options: argparse.Namespace) -> int:
    """Data sets as memory-mapped files, from whatever form they are in."""
    if options.source is not None and len(options.datasets) > 1:
        raise UserError(f"--source is one data set's, but {len(options.datasets)} are named; prepare them one by one")
    from trainers.data.prepare import prepare as prepare_dataset
    from trainers.data.report import report_lines
    from trainers.data.store import read_manifest

    for dataset in options.datasets:
        prepared = prepare_dataset(
            dataset,
            options.data_root,
            prepared_root=options.prepared_root,
            image_size=options.image_size,
            source=options.source,
            download=options.download,
            skip_damaged=options.skip_damaged,
            progress=Counter(dataset),
        )
        say(f"{dataset}: prepared in {prepared}")
        manifest = read_manifest(prepared)
        say("\n".join(report_lines(manifest)) if manifest else "")
    return 0
