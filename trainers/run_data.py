"""The data of one run: what its configuration names, opened, and prepared first where that was not done.

Where a run's machine has its data and files under other paths than the command that asked for it, because shared
storage has brought them (`trainers.stored_inputs`), this process is told here, and whoever reads them asks here.
"""

from pathlib import Path

from trainers.config import TrialConfig
from trainers.data.catalog import lookup
from trainers.data.loader import PreparedData, Split, open_prepared
from trainers.data.locate import DatasetChoice, choose_dataset
from trainers.data.prepared_folders import find_prepared

_data: dict[str, Path] = {}
_files: dict[str, Path] = {}


def data_key(config: TrialConfig) -> str:
    """What tells the prepared data of one run from another's: data set and size."""
    return f"{config.dataset} {config.image_size}"


def bring_data(config: TrialConfig, folder: Path | None) -> None:
    """Read this data set from `folder` in this process; None: from where the configuration says."""
    _data.pop(data_key(config), None)
    if folder is not None:
        _data[data_key(config)] = folder


def bring_file(path: str, file: Path | None) -> None:
    """Read `file` in this process where a configuration says `path`; None: what lies at `path`."""
    _files.pop(path, None)
    if file is not None:
        _files[path] = file


def pretrained_file(config: TrialConfig) -> Path | None:
    """The run's pretrained file on this machine."""
    return None if config.pretrained is None else _files.get(config.pretrained, Path(config.pretrained))


def prepared_folder(config: TrialConfig, *, brought: bool = True) -> Path | None:
    """Where the run's data lie prepared, None where they are not; nothing is opened or prepared.

    Args:
        config: of the run.
        brought: say where shared storage has brought them, where it has.
    """
    if brought and (folder := _data.get(data_key(config))) is not None:
        return folder
    root = None if config.prepared_root is None else Path(config.prepared_root)
    choice = choose_dataset(config.dataset)
    return find_prepared(choice, Path(config.data_root).expanduser(), root, config.image_size)


def data_of(config: TrialConfig) -> PreparedData:
    """The prepared data set of this run, without the classes that it does not use; raises as `open_prepared`."""
    if (folder := _data.get(data_key(config))) is not None:
        info = lookup(config.dataset)
        name = info.name if info else Path(config.dataset).stem
        return PreparedData(folder, DatasetChoice(name, info, None), config.classes)
    return open_prepared(
        config.dataset,
        config.data_root,
        prepared_root=config.prepared_root,
        image_size=config.image_size,
        classes=config.classes,
        skip_damaged=config.skip_damaged,
    )


def split_of(data: PreparedData, config: TrialConfig, name: str) -> Split:
    """What of the data this run trains on, validates on or is tested on: `train`, `validation` or `test`."""
    return data.split(name, config.val_fraction, config.train_per_class)
