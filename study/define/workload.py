"""What is the same for all methods of a workload, so that a comparison is one of methods (PROTOCOL §2.3, §4.4).

Two methods on networks of different depth, or with different validation images, are not compared by their accuracies.
A cell's workload is every setting of that scope (`trainers.settings`) and what its data are: it is recorded, held equal
between the methods of a data set and model as the budget is, and held against what a study began with.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.define.cells import Cell
from trainers.content_names import file_sha256
from trainers.errors import UserError

MAY_DIFFER = ("activation_memory",)
"""Settings of the workload that decide about memory alone, so that methods compare where they differ (§2.3)."""
_ELSEWHERE = ("dataset", "model", "epochs", "pretrained", "xnor", "weight_scale", *MAY_DIFFER)
"""Settings of the workload that its name or budget says, that have another form here, or that may differ."""
WORDS = {
    "data": "data (fingerprint)",
    "test_set": "test set",
    "train_images": "training images",
    "validation_images": "validation images",
    "test_images": "test images",
    "pretrained_sha256": "pretrained file (SHA-256)",
}


CHECKED = ("data", "test_set", "pretrained_sha256")
"""What of a workload a node can have otherwise."""


def expected_data(workload: Mapping[str, Any]) -> dict[str, str]:
    """What a run of this workload is to find on its node."""
    return {name: str(workload[name]) for name in CHECKED if workload.get(name)}


def settings_of_workload(cell: Cell) -> dict[str, Any]:
    """The cell's settings that its workload's methods share, by name, without those that are searched."""
    searched = cell.searched_memory()
    own = {
        setting.name: getattr(cell.base, setting.name)
        for setting in cell.base.settings
        if setting.scope == "workload" and setting.name not in (*_ELSEWHERE, *searched)
    }
    return {**own, "weight_scale": cell.base.scale_kind}


def data_of_workload(cell: Cell, verified: set[Path]) -> dict[str, Any]:
    """What the cell's data are, its prepared files read and held against their checksums.

    Args:
        cell: its image size resolved.
        verified: prepared folders that were read through already, which is added to.

    Raises:
        UserError: a prepared file was changed, or the pretrained file cannot be read.
    """
    from trainers.data.store import verify_prepared
    from trainers.run_data import data_of, split_of

    base = cell.base
    data = data_of(base)
    if data.path not in verified:
        verify_prepared(data.path)
        verified.add(data.path)
    found: dict[str, Any] = {
        "data": data.fingerprint,
        "test_set": data.test_set,
        "train_images": len(split_of(data, base, "train")),
        "validation_images": len(split_of(data, base, "validation")),
        "test_images": data.test_images,
    }
    if base.pretrained is not None:
        found["pretrained_sha256"] = _sha256(Path(base.pretrained))
    return found


def workloads_of(cells: Sequence[Cell], *, simulated: bool = False) -> dict[str, dict[str, Any]]:
    """By cell name, its workload; of a simulated study without data, which it does not read."""
    verified: set[Path] = set()
    return {
        cell.name: {**settings_of_workload(cell), **({} if simulated else data_of_workload(cell, verified))}
        for cell in cells
    }


def unequal_settings(cells: Sequence[Cell]) -> list[str]:
    """As `unequal`, of a study's cells before their data are looked at."""
    return unequal({(cell.base.dataset, cell.base.model, cell.method): settings_of_workload(cell) for cell in cells})


def unequal(workloads: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> list[str]:
    """In what the methods of one data set and model differ: a line for each of these, with both values.

    A setting that only some of them have is none of the others' (what freezes convolutions says nothing to an MLP).

    >>> unequal({("MNIST", "MLP", "bop"): {"depth": 3}, ("MNIST", "MLP", "binary"): {"depth": 4}})
    ['MNIST, MLP: depth is 3 for bop; 4 for binary']
    """
    lines = []
    for pair in dict.fromkeys(key[:2] for key in workloads):
        own = {key[2]: values for key, values in workloads.items() if key[:2] == pair}
        parts = []
        for name in dict.fromkeys(name for values in own.values() for name in values):
            holders: dict[Any, list[str]] = {}
            for method, values in own.items():
                if name in values:
                    holders.setdefault(values[name], []).append(method)
            if len(holders) > 1:
                told = (f"{_shown(value)} for {', '.join(methods)}" for value, methods in holders.items())
                parts.append(f"{WORDS.get(name, name)} is {'; '.join(told)}")
        if parts:
            lines.append(f"{', '.join(pair)}: {'. '.join(parts)}")
    return lines


def refuse_unequal_workloads(lines: Sequence[str]) -> None:
    """Raise `UserError` where methods are to be compared on workloads that differ."""
    if lines:
        raise UserError(
            f"the methods of a workload do not have the same task (PROTOCOL §2.3): {' / '.join(lines)}. Give them the "
            "same settings, or two studies; --allow-unequal compares them all the same, below a banner"
        )


def _shown(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 40 else str(value)


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"the pretrained file {path} cannot be read ({error.strerror}); put it back") from error
