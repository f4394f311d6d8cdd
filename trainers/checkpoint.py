"""A run's own checkpoints: one safetensors file each, 1 bit a packed weight, written atomically.

Everything that a run needs to go on bit-identically: the model (weights, running statistics), layer rules' state, the
optimizer's state, and how far the run has come, with every epoch's metrics. Draws need no state: they are functions of
(seed, layer, step). Tensors are named `model.NAME`, `rule.LAYER/NAME` and `optimizer.INDEX/NAME`; the rest is JSON in
the file's metadata, with a SHA-256 over all of it. A file that is not what it says is never loaded, not even in part.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainers.atomic import write_atomically
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.exhaustion import exhausted
from trainers.learner import Learner
from trainers.progress import Metrics, Progress

_FORMAT = "binsfo-run-2"

# What torch's SGD and Adam keep of a parameter: one entry a weight, or (the count of steps) one in all.
_OPTIMIZER_STATE = ("momentum_buffer", "step", "exp_avg", "exp_avg_sq")


class DamagedError(ValueError):
    """A checkpoint that cannot be used, for a reason in words."""


def last_checkpoint(run_dir: Path) -> Path:
    """Where the newest checkpoint of a run lies."""
    return run_dir / "checkpoints" / "last.safetensors"


def best_checkpoint(run_dir: Path) -> Path:
    """Where the checkpoint of the best validation accuracy lies; without validation, the last epoch's."""
    return run_dir / "checkpoints" / "best.safetensors"


def save(run_dir: Path, learner: Learner, progress: Progress, best: bool) -> None:
    """Write the last checkpoint, and the best one too if `best`; a kill leaves the old or the new file whole."""
    path = last_checkpoint(run_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": tensor for name, tensor in learner.model.state_dict().items()}
    scalars: dict[str, dict[str, float | None]] = {}
    for layer, rule in learner.rule.layer_rules().items():
        scalars[layer] = rule.scalars()
        tensors.update({f"rule.{layer}/{name}": tensor for name, tensor in rule.tensors().items()})
    tensors.update(_optimizer_tensors(learner))
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": _FORMAT,
        "config": json.dumps(learner.config.to_dict()),
        "fingerprint": learner.config.fingerprint(),
        "progress": progress.to_json(),
        "scalars": json.dumps(scalars),
    }
    metadata["sha256"] = _digest(contiguous, metadata)
    write_atomically(path, lambda partial: save_file(contiguous, partial, metadata))
    if best:
        write_atomically(best_checkpoint(run_dir), lambda partial: shutil.copyfile(path, partial))


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 over every tensor and every text of a checkpoint."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    digest.update(json.dumps({name: metadata[name] for name in sorted(metadata) if name != "sha256"}).encode())
    return digest.hexdigest()


def _optimizer_tensors(learner: Learner) -> dict[str, Tensor]:
    optimizer = learner.rule.optimizer
    if optimizer is None:
        return {}
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}/{name}": value
        for index, entries in state.items()
        for name, value in entries.items()
        if isinstance(value, Tensor)
    }


def replace_last(run_dir: Path) -> None:
    """Put the best checkpoint in the place of a last one that cannot be used."""
    write_atomically(last_checkpoint(run_dir), lambda partial: shutil.copyfile(best_checkpoint(run_dir), partial))


def restore(run_dir: Path, learner: Learner) -> tuple[Progress, str]:
    """Load a run's last checkpoint into a learner of the same configuration; where that is damaged, its best one.

    Returns:
        How far the run has come (nowhere, where there is no checkpoint), and in words that the last checkpoint could
        not be used, or nothing.

    Raises:
        UserError: no checkpoint of those that are there can be used, or they are of another configuration; it names the
            settings that differ.
    """
    last, best = last_checkpoint(run_dir), best_checkpoint(run_dir)
    if not last.exists() and not best.exists():
        return Progress(), ""
    damage: list[str] = []
    for path in (last, best):
        try:
            progress = restore_from(path, learner)
        except DamagedError as error:
            damage.append(f"checkpoint {path} cannot be read ({error})")
            continue
        return progress, "; ".join([*damage, _GOES_ON.format(progress.epochs_done)]) if damage else ""
    raise UserError(
        f"{'; '.join(damage)}; put back a whole copy of one of them, or remove {last.parent} to start this run anew"
    )


_GOES_ON = "the run goes on from its best checkpoint, of epoch {}"


def restore_from(path: Path, learner: Learner) -> Progress:
    """Load one checkpoint into a learner of the same configuration; how far the run had come by then.

    Raises:
        DamagedError: it cannot be used; the learner is as it was. UserError: it is of another configuration.
    """
    tensors, metadata = read_checkpoint(path)
    if metadata["fingerprint"] != learner.config.fingerprint():
        raise UserError(f"{path} belongs to another run: {_differences(metadata, learner.config)}; use another folder")
    model = {name[len("model.") :]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    rules = learner.rule.layer_rules()
    rule_tensors = {
        f"rule.{layer}/{name}": tensor for layer, rule in rules.items() for name, tensor in rule.tensors().items()
    }
    expected = {f"model.{name}": tensor for name, tensor in learner.model.state_dict().items()} | rule_tensors
    state = {name: tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}
    if different := sorted(expected.keys() ^ (tensors.keys() - state.keys())):
        raise DamagedError(f"its tensors are not the run's: {', '.join(different[:3])}")
    for name, tensor in expected.items():
        _require_like(name, tensors[name], tensor)
    optimizer_state = _optimizer_state(state, learner.rule.optimizer)
    scalars = _scalars(metadata, {layer: set(rule.scalars()) for layer, rule in rules.items()})
    progress = _progress(metadata, learner.config)
    # Nothing is changed before all of it is known to fit.
    learner.model.load_state_dict(model)
    for name, tensor in rule_tensors.items():
        tensor.copy_(tensors[name])
    for layer, rule in rules.items():
        rule.load_scalars(scalars[layer])
    if (optimizer := learner.rule.optimizer) is not None:
        optimizer.load_state_dict({"state": optimizer_state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor and text of a checkpoint, which is what was written.

    Raises:
        DamagedError: it is not; or there is none.
    """
    if not path.is_file():
        raise DamagedError("there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:  # what a reader of any bytes may come upon
        if exhausted(error) is not None:
            raise
        raise DamagedError(next(iter(str(error).splitlines()), type(error).__name__)) from error
    if metadata.get("format") != _FORMAT:
        raise DamagedError(f"it is not a checkpoint of a run ({_FORMAT})")
    if missing := {"config", "fingerprint", "progress", "scalars", "sha256"} - metadata.keys():
        raise DamagedError(f"it lacks {', '.join(sorted(missing))}")
    if metadata["sha256"] != _digest(tensors, metadata):
        raise DamagedError("its content is not what was written")
    return tensors, metadata


def recorded_history(run_dir: Path) -> list[Metrics]:
    """Every epoch's metrics that a run's newest readable checkpoint holds, without reading its tensors."""
    progress = _recorded(run_dir)
    return progress.history if progress else []


def recorded_steps(run_dir: Path) -> int:
    """The steps that a run's newest readable checkpoint is after, without reading its tensors; -1 without any."""
    progress = _recorded(run_dir)
    return progress.steps_done if progress else -1


def _recorded(run_dir: Path) -> Progress | None:
    for path in (last_checkpoint(run_dir), best_checkpoint(run_dir)):
        try:
            with safe_open(path, framework="pt") as file:
                return Progress.from_json((file.metadata() or {})["progress"])
        except (SafetensorError, OSError, ValueError, KeyError, RecursionError):
            continue
    return None


def _require_like(name: str, tensor: Tensor, wanted: Tensor) -> None:
    if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
        raise DamagedError(
            f"{name} is {tensor.dtype} {tuple(tensor.shape)}, the run's is {wanted.dtype} {tuple(wanted.shape)}"
        )


def _optimizer_state(
    tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer | None
) -> dict[int, dict[str, Tensor]]:
    parameters = [] if optimizer is None else [entry for group in optimizer.param_groups for entry in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key[len("optimizer.") :].partition("/")
        if not index.isdecimal() or len(index) > 9 or int(index) >= len(parameters) or name not in _OPTIMIZER_STATE:
            raise DamagedError(f"its tensors are not the run's: {key}")
        _require_like(key, tensor, torch.empty(()) if name == "step" else parameters[int(index)])
        state.setdefault(int(index), {})[name] = tensor
    if len({frozenset(entries) for entries in state.values()}) > 1 or (state and len(state) != len(parameters)):
        raise DamagedError("the optimizer's state is not whole")
    return state


def _scalars(metadata: dict[str, str], wanted: dict[str, set[str]]) -> dict[str, dict[str, float | None]]:
    try:
        scalars: Any = json.loads(metadata["scalars"])
        found = {layer: set(values) for layer, values in scalars.items()}
        whole = all(
            value is None or (isinstance(value, float) and not isinstance(value, bool))
            for values in scalars.values()
            for value in values.values()
        )
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedError(f"its scalars are no object ({error})") from error
    if found != wanted or not whole:
        raise DamagedError("its scalars are not the run's")
    return dict(scalars)


def _progress(metadata: dict[str, str], config: TrialConfig) -> Progress:
    try:
        progress = Progress.from_json(metadata["progress"])
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"its progress is none ({error})") from error
    if progress.epochs_done > config.epochs:
        raise DamagedError(f"it has {progress.epochs_done} epochs of {config.epochs}")
    return progress


def _differences(metadata: dict[str, str], config: TrialConfig) -> str:
    """The settings in which a checkpoint's run differs from `config`, in words."""
    now = config.to_dict()
    try:
        then: Any = {setting.name: setting.earlier for setting in config.settings} | json.loads(metadata["config"])
        changed = [f"{name} was {then.get(name)!r}, is {now[name]!r}" for name in now if then.get(name) != now[name]]
    except (ValueError, AttributeError, TypeError, RecursionError):
        changed = []
    if not changed:
        raise DamagedError("its fingerprint is not that of its settings")
    return ", ".join(changed)
