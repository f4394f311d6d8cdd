"""An exported run predicts what the run predicted, says where it comes from, and is found by any of its names."""

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from study.cli.command_line import main
from study.cli.export import export_run, find_run
from study.drive.pretrain import pretrain
from tests.study.recorded_study import ORIGIN, begin_study, write_study_file
from trainers import checkpoint
from trainers.batch_norm import synchronize_batch_norm
from trainers.checkpoint import best_checkpoint, last_checkpoint
from trainers.config import TrialConfig
from trainers.data.loader import PreparedData, normalise, open_prepared
from trainers.data.prepare import prepare
from trainers.errors import UserError
from trainers.host import run_local
from trainers.learner import Learner, new_model
from trainers.models.packed import WEIGHTS, load_packed
from trainers.progress import Metrics
from trainers.replicas import Replicas

RUN, OTHER, PRUNED = "Digits-MLP-binary-search-0003", "Digits-MLP-real-SGD-search-0001", "Digits-MLP-bop-search-0002"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    """Two threads that wait for each other on a busy machine cost seconds a step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    prepare("Digits", str(root))
    prepare("Digits", str(root), image_size=32)
    return root


@pytest.fixture(scope="module")
def digits(digits_root: Path) -> Callable[..., TrialConfig]:
    """Makes configurations that train for a few steps on the digits."""

    def make(algorithm: str, model: str = "MLP", **settings: Any) -> TrialConfig:
        small: dict[str, Any] = {"hid_dim": 64, "depth": 3, "image_size": 8, "batch_size": 96, "epochs": 2}
        if model != "MLP":
            small = {"width": 0.25, "image_size": 32, "batch_size": 40, "epochs": 1, "val_fraction": 0.95}
        common = {"scheduler_type": "gaussian", "device": "cpu", "data_root": str(digits_root), "lr": 0.1}
        return TrialConfig(dataset="Digits", model=model, algorithm=algorithm, **{**common, **small, **settings})

    return make


@pytest.fixture(scope="module")
def study(digits: Callable[..., TrialConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with two trained runs and a pruned one, all recorded."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    log = begin_study(folder, "small")
    configs = {RUN: digits("binary", lr=1.0, test=True), OTHER: digits("real"), PRUNED: digits("bop")}
    for trial_id, config in configs.items():
        origin = {"cell": None, "phase": "search", "method": config.method, "config": config.to_dict(), "tags": {}}
        log.append("start", trial_id=trial_id, attempt=1, **origin)
        if trial_id != PRUNED:
            run_local(config, folder / "runs" / trial_id)
        outcome = "pruned" if trial_id == PRUNED else "completed"
        log.append("end", trial_id=trial_id, outcome=outcome, metrics={}, reason="", rung=None, device_seconds=None)
    return folder


def data_of(config: TrialConfig) -> PreparedData:
    return open_prepared(config.dataset, config.data_root, image_size=config.image_size)


def inputs(data: PreparedData) -> Tensor:
    images = data.split("validation").images(np.arange(50))
    return normalise(images, data.mean, data.std, torch.float32)


def evaluated(config: TrialConfig, file: Path) -> Tensor:
    """The logits of the run's own model in evaluation mode."""
    data = data_of(config)
    learner = Learner(config, data, Replicas(), torch.device("cpu"))
    checkpoint.restore_from(file, learner)
    with torch.no_grad():
        return learner.model.eval()(inputs(data))


def assert_same(config: TrialConfig, exported: Tensor, run: Tensor) -> None:
    """Bit for bit; of a convolutional network whose latent weights a real-space run kept, but for rounding.

    The run evaluates that by stock convolutions and batch norms, the export by the fused pass over packed bits.
    """
    if config.algorithm == "real" and config.model != "MLP":
        torch.testing.assert_close(exported, run, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(exported, run)


# A run of a convolutional network takes seconds; one of them is enough for every day.
slow = partial(pytest.param, marks=pytest.mark.slow)
RUNS: list[Any] = [
    {"algorithm": "binary", "lr": 1.0},
    {"algorithm": "bop", "weight_scale": "channel", "lr": 1e-2},
    {"algorithm": "frozen", "xnor": True},
    {"algorithm": "real"},
    {"algorithm": "real", "optimizer": "Adam", "weight_scale": "channel", "lr": 1e-2},
    {"algorithm": "real", "xnor": True},
    slow({"algorithm": "binary", "model": "AdamBNN"}),
    {"algorithm": "binary", "model": "AdamBNN", "weight_scale": "channel", "approx": "ReSTE", "freeze_num": 2},
    slow({"algorithm": "real", "model": "AdamBNN"}),
    slow({"algorithm": "real", "model": "AdamBNN", "weight_scale": "channel"}),
    slow({"algorithm": "real", "model": "BCDNet", "weight_scale": "layer"}),
]


@pytest.mark.parametrize("settings", RUNS, ids=lambda s: "-".join(str(value) for value in s.values()))
def test_exported_logits_are_the_runs(
    settings: dict[str, Any], digits: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    config = digits(**settings)
    run_local(config, tmp_path / "run")
    model, about = load_packed(export_run(str(tmp_path / "run")))
    assert_same(config, model(inputs(data_of(config))), evaluated(config, last_checkpoint(tmp_path / "run")))
    assert about.options["approx"] == config.approx
    assert about.options["weight_scale"] == config.scale_kind


def test_the_scale_of_a_latent_layer_is_the_runs_whatever_threads_export_has(
    digits: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    """The mean over a layer's weights sums in an order that depends on the threads, and the run had one."""
    run_local(digits("real", "AdamBNN", xnor=True), tmp_path / "run")
    one = export_run(str(tmp_path / "run"), output=str(tmp_path / "one"))
    torch.set_num_threads(2)
    try:
        two = export_run(str(tmp_path / "run"), output=str(tmp_path / "two"))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert (one / WEIGHTS).read_bytes() == (two / WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    ("algorithm", "signs_only"), [("binary", True), ("real", False), slow("binary", False), slow("real", True)]
)
def test_a_pretrained_runs_scale_is_the_one_it_trained_with(
    algorithm: str, signs_only: bool, digits: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    """A file of signs alone has no weight scale to take, so runs from it have none."""
    config = digits(algorithm, "AdamBNN")
    state = new_model(config, 10, 1, 32).state_dict()
    if signs_only:
        state = {
            name: value.sign() if value.dim() == 4 and "binary" in name else value for name, value in state.items()
        }
    torch.save(state, tmp_path / "pretrained.pth")
    config = config.replace(pretrained=str(tmp_path / "pretrained.pth"))
    run_local(config, tmp_path / "run")
    expected = evaluated(config, last_checkpoint(tmp_path / "run"))
    model, about = load_packed(export_run(str(tmp_path / "run")))
    assert about.options["weight_scale"] == ("none" if signs_only else "channel")
    assert_same(config, model(inputs(data_of(config))), expected)


def test_several_workers_batch_norm_is_exported_as_the_plain_one(
    digits: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    """Their checkpoints have one worker's names."""
    config = digits("binary", "AdamBNN")
    with torch.device("meta"):
        one, two = new_model(config, 10, 1, 32), new_model(config, 10, 1, 32)
    synchronize_batch_norm(two, Replicas(rank=0, size=2))
    assert two.state_dict().keys() == one.state_dict().keys()


def test_the_description_says_what_it_is_and_where_it_comes_from(study: Path, tmp_path: Path) -> None:
    model, about = load_packed(export_run(RUN, study=str(study), output=str(tmp_path / "out")))
    run_dir = study / "runs" / RUN
    config = TrialConfig.from_dict(about.origin["config"])
    data = data_of(config)
    assert (about.model, about.dataset, about.image_size, about.channels) == ("MLP", "Digits", 8, 1)
    assert about.options == {"hid_dim": 64, "depth": 3, "approx": "STE", "weight_scale": "none"}
    assert (about.mean, about.std) == (tuple(data.mean), tuple(data.std))
    assert about.class_names == tuple(data.class_names)
    result = json.loads((run_dir / "result.json").read_text())
    origin = {name: value for name, value in about.origin.items() if name != "config"}
    assert origin == {
        "study": "small",
        "trial_id": RUN,
        "git_commit": ORIGIN["git_commit"],
        "checkpoint": "last",
        "epoch": 2,
        "val_accuracy": result["val_accuracy"],
        "test_accuracy": result["test_accuracy"],
    }
    for name, key in (("validation", "val_accuracy"), ("test", "test_accuracy")):
        split = data.split(name, config.val_fraction)
        logits = model(normalise(split.images(np.arange(len(split))), data.mean, data.std, torch.float32))
        accuracy = (logits.argmax(dim=1).numpy() == split.labels).mean()
        assert accuracy == pytest.approx(about.origin[key], abs=1e-12)


def test_best_is_the_best_epoch_on_validation_and_carries_no_later_epochs_test_accuracy(
    digits: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    epochs: list[Metrics] = []
    config = digits("binary", lr=1.0, epochs=4, test=True, temperature=1e4, seed=2)  # too hot: it gets no better
    run_local(config, tmp_path / "run", epochs.append)
    accuracies = [metrics["val_accuracy"] for metrics in epochs]
    best = int(np.argmax(accuracies))
    assert best < 3, "a run whose last epoch is its best shows nothing"
    _, last = load_packed(export_run(str(tmp_path / "run")))
    model, about = load_packed(export_run(str(tmp_path / "run"), output=str(tmp_path / "best"), which="best"))
    assert (last.origin["epoch"], last.origin["val_accuracy"]) == (4, accuracies[3])
    assert last.origin["test_accuracy"] is not None
    assert (about.origin["epoch"], about.origin["val_accuracy"]) == (best + 1, accuracies[best])
    assert about.origin["test_accuracy"] is None
    assert torch.equal(model(inputs(data_of(config))), evaluated(config, best_checkpoint(tmp_path / "run")))


def test_a_run_is_found_by_folder_and_trial_id(study: Path) -> None:
    expected = (study / "runs" / RUN).resolve()
    assert find_run(str(study / "runs" / RUN)) == expected
    assert find_run(RUN, str(study)) == expected


def test_a_run_that_is_not_there_is_answered_with_those_that_are(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    choice = f"choose one of the 2 in .*runs: {RUN}, {OTHER}$"
    for run in (study, study / "runs", study / "runs" / "Digits-MLP-binary-search-0030"):
        with pytest.raises(UserError, match=f"is no run's folder; {choice}"):
            find_run(str(run))
    with pytest.raises(UserError, match=f"no run 'binary-search-3' with a checkpoint; {choice}"):
        find_run("binary-search-3", str(study))
    with pytest.raises(UserError, match=rf"run {PRUNED} \(pruned\) has no checkpoint"):
        find_run(PRUNED, str(study))
    with pytest.raises(UserError, match="or a trial id with --study"):
        find_run(RUN)
    with pytest.raises(UserError, match="there is no folder"):
        find_run(RUN, "nowhere")
    write_study_file(tmp_path / "empty", "empty")
    with pytest.raises(UserError, match="has left a checkpoint; train one first"):
        find_run(RUN, "empty")


def test_only_ten_of_many_runs_are_listed(tmp_path: Path) -> None:
    for index in range(15):
        file = last_checkpoint(tmp_path / "runs" / f"run-{index:02d}")
        file.parent.mkdir(parents=True)
        file.touch()
    with pytest.raises(UserError, match=r"one of the 15 in .*: run-1\d, .* and 5 more$"):
        find_run(str(tmp_path / "runs" / "run-19"))


def test_without_records_the_commit_is_unknown_and_the_model_is_exported(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(study / "runs", tmp_path / "runs")
    _, about = load_packed(export_run(str(tmp_path / "runs" / RUN)))
    assert (about.origin["git_commit"], about.origin["study"]) == ("unknown", None)
    write_study_file(tmp_path, "small")
    _, about = load_packed(export_run(RUN, study=str(tmp_path), replace=True))
    assert (about.origin["git_commit"], about.origin["trial_id"]) == ("unknown", RUN)
    assert "the run's commit is written as unknown: the study 'small'" in capsys.readouterr().out


def test_a_run_that_is_still_going_on_is_exported_as_far_as_it_is(
    digits: Callable[..., TrialConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported: list[Path] = []

    def export_now(metrics: Metrics) -> None:
        if metrics["epoch"] == 1:
            exported.append(export_run(str(tmp_path / "run")))

    run_local(digits("binary", val_fraction=0.0), tmp_path / "run", export_now)
    _, about = load_packed(exported[0])
    assert (about.origin["epoch"], about.origin["val_accuracy"]) == (1, None)
    assert "run: MLP after epoch 1 of 2\n" in capsys.readouterr().out


def test_a_checkpoint_that_is_damaged_or_none_is_refused(study: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(study / "runs" / RUN, run_dir)
    exported = export_run(str(run_dir), output=str(tmp_path / "out"))
    last_checkpoint(run_dir).write_bytes(last_checkpoint(run_dir).read_bytes()[:500])
    with pytest.raises(UserError, match=r"checkpoint .* cannot be read"):
        export_run(str(run_dir))
    shutil.copy(exported / WEIGHTS, last_checkpoint(run_dir))
    with pytest.raises(UserError, match="not a checkpoint of a run"):
        export_run(str(run_dir))


def test_the_command_exports_refuses_to_overwrite_and_replaces_when_told(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    words = ["export", RUN, "--study", str(study), "--output", str(output)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(rf"^{RUN}: MLP after epoch 2 of 2, validation accuracy 0\.\d+, test accuracy 0\.\d+$", said, re.M)
    assert re.search(rf"^exported to {output} \(0\.\d\d MB, 10 classes, 8x8x1 pixels\)$", said, re.M)
    assert main(words) == 2
    assert "holds a packed model already; replace it (--force)" in capsys.readouterr().err
    assert main([*words, "--force", "--best"]) == 0
    assert load_packed(output)[1].origin["checkpoint"] == "best"
    assert main([*words, "--best", "--last"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_data_set_that_moved_is_found_where_the_command_says(
    study: Path, digits_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(digits_root, tmp_path / "moved"))
    words = ["export", str(study / "runs" / OTHER), "--output", str(tmp_path / "out"), "--data-root"]
    assert main([*words, str(moved)]) == 0
    _, about = load_packed(tmp_path / "out")
    assert about.origin["config"]["data_root"] == str(digits_root), "the run as it was"


@pytest.mark.parametrize("method", ["binary", "bop", "real"])
def test_a_patch_and_its_pretrained_file_are_the_whole_export(
    method: str, digits_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small: dict[str, Any] = {"dataset": "Digits", "model": "RealHeadMLP", "hid_dim": 64, "depth": 2, "epochs": 1}
    small |= {"data_root": str(digits_root), "batch_size": 96, "lr": 0.01}
    start = pretrain(TrialConfig(**small, algorithm="real", optimizer="Adam", classes="..4"), tmp_path / "start")
    config = TrialConfig(**small, algorithm=method, classes="5..", pretrained=str(start))
    run_local(config, tmp_path / "run")
    whole, _ = load_packed(export_run(str(tmp_path / "run")))
    moved = start.rename(tmp_path / start.name)
    with pytest.raises(UserError, match=r"does not exist; give it by --base FILE"):
        export_run(str(tmp_path / "run"), patch=True)
    assert main(["export", str(tmp_path / "run"), "--patch", "--base", str(moved)]) == 0
    patched, about = load_packed(moved, tmp_path / "run" / "patch")
    assert about.class_names == ("5", "6", "7", "8", "9")
    for name, value in whole.state_dict().items():
        assert value.equal(patched.state_dict()[name]), name
    said = capsys.readouterr().out
    assert f"try it: python examples/predict.py {moved} PICTURE {tmp_path / 'run' / 'patch'}" in said
    assert re.search(r"a patch of .*: [\d,]+ of 8,192 binary weights flipped \(", said)


def test_a_run_from_scratch_has_no_patch(study: Path) -> None:
    with pytest.raises(UserError, match="started from no pretrained file"):
        export_run(RUN, study=str(study), patch=True)
    with pytest.raises(UserError, match="give --patch too"):
        export_run(RUN, study=str(study), base="x.safetensors")
