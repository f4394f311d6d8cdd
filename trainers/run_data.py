"""The data of one run: what its configuration names, opened, and prepared first where that was not done."""

from pathlib import Path

from trainers.config import TrialConfig
from trainers.data.loader import PreparedData, open_prepared
from trainers.data.locate import choose_dataset
from trainers.data.prepared_folders import find_prepared


def prepared_folder(config: TrialConfig) -> Path | None:
    """Where the run's data lie prepared, None where they are not; nothing is opened or prepared."""
    root = None if config.prepared_root is None else Path(config.prepared_root)
    choice = choose_dataset(config.dataset)
    return find_prepared(choice, Path(config.data_root).expanduser(), root, config.image_size)


def data_of(config: TrialConfig) -> PreparedData:
    """The prepared data set of this run, without the classes that it does not use; raises as `open_prepared`."""
    return open_prepared(
        config.dataset,
        config.data_root,
        prepared_root=config.prepared_root,
        image_size=config.image_size,
        classes=config.classes,
        skip_damaged=config.skip_damaged,
    )
