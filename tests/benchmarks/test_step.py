"""A step of any configuration can be timed and measured without a data set."""

import json

import pytest

from benchmarks.step import input_shape, main, make_step
from trainers.config import TrialConfig
from trainers.errors import UserError

SMALL = ["--hid-dim", "32", "--depth", "2", "--batch-size", "8", "--image-size", "8", "--device", "cpu"]


def test_the_script_prints_times_and_memory_as_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--dataset", "MNIST", "--model", "MLP", "--algorithm", "bop", *SMALL, "--repeats", "3", "--predict"]) == 0
    )
    outcome = json.loads(capsys.readouterr().out)
    assert len(outcome["seconds_of_each"]) == 3
    assert outcome["images_per_second"] == pytest.approx(8 / outcome["seconds"])
    assert outcome["peak_memory_bytes"] == sum(outcome["memory"].values())
    assert outcome["predicted_memory"]["total"] == pytest.approx(outcome["peak_memory_bytes"], rel=0.1)
    assert outcome["config"]["algorithm"] == "bop"
    assert {"git_commit", "versions", "hardware", "command", "device"} <= outcome.keys()


def test_steps_train_on_and_on() -> None:
    step = make_step(TrialConfig("MNIST", "MLP", "real", hid_dim=32, depth=2, batch_size=8, image_size=8, lr=0.1))
    first = step()
    for _ in range(20):
        last = step()
    assert step.steps == 21 and last < first


def test_shapes_come_from_the_catalog_unless_given() -> None:
    config = TrialConfig("CIFAR100", "AdamBNN", "binary")
    assert vars(input_shape(config)) == {"num_classes": 100, "channels": 3, "image_size": 256}
    given = input_shape(config.replace(image_size=64), num_classes=7, channels=1)
    assert (given.num_classes, given.channels, given.image_size) == (7, 1, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "my/photos"], "'my/photos' is not in the catalog, .* give --num-classes too"),
        (["--dataset", "my/photos", "--num-classes", "5"], "give --image-size too"),
        (["--dataset", "CIFAR10", "--image-size", "33"], "cannot take images of 33x33"),
        (["--dataset", "CIFAR10", "--workers", "2"], "2 workers: this times one"),
        (
            ["--dataset", "CIFAR10", *["--image-size", "32", "--width", "0.25", "--batch-size", "2", "--repeats", "0"]],
            "at least 1",
        ),
    ],
)
def test_what_cannot_be_timed_is_refused(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options, "--model", "AdamBNN", "--algorithm", "frozen"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    with pytest.raises(UserError, match=message):
        raise UserError(error)
