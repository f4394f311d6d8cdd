"""A configuration is refused when it is made, with what was got and what is allowed."""

import math
import warnings
from typing import Any

import pytest

from trainers.config import TrialConfig, learning_rates
from trainers.errors import UserError


def config(**settings: Any) -> TrialConfig:
    return TrialConfig(**{"dataset": "Digits", "model": "MLP", "algorithm": "binary", **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "adambnn"},
            r"model 'adambnn' is unknown; use AdamBNN, BCDNet, MLP.* \(did you mean AdamBNN\?\)",
        ),
        ({"algorithm": "sgd"}, "use binary, .*bop, .*real.*; your own comes with --plugin"),
        ({"scheduler_type": "cosine"}, "use const, gaussian, scaled-gaussian or relative"),
        ({"mask_type": "XYZ"}, "use EWM, WPM or RAND"),
        ({"approx": "tanh"}, "use STE, ApproxSign or ReSTE"),
        ({"optimizer": "RMSprop"}, "use SGD or Adam"),
        ({"activation_memory": "bits"}, "use stock or packed"),
        ({"kernels": "cuda"}, "use auto or torch"),
        ({"bop_momentum_bits": 8}, "use 16 or 32"),
        ({"inertia_bits": 5}, "inertia_bits 5 is not offered; use 0, 2, 3, 4 or 8"),
        ({"inertia_bits": False}, "inertia_bits False is not offered"),
        ({"anneal": "linear"}, "anneal 'linear' is unknown; use none or cosine"),
        ({"mask_type": "RAND", "scheduler_type": "relative"}, "RAND's temperature is a probability.*use EWM or WPM"),
        ({"lr": -1.0}, "lr -1.0 is not positive"),
        ({"lr": math.nan}, "lr nan is not a finite number"),
        ({"lr": "0.1"}, "lr '0.1' is not a finite number"),
        ({"temperature": 0}, "temperature 0.0 is not positive"),
        ({"batch_size": 1}, "batch_size 1 is not a whole number of at least 2"),
        ({"epochs": 1.5}, "epochs 1.5 is not a whole number"),
        ({"seed": -1}, "seed -1"),
        ({"val_fraction": 1.0}, "val_fraction 1.0 is outside"),
        ({"xnor": True, "weight_scale": "channel"}, "give only one of them"),
        ({"workers": 3, "batch_size": 4}, "use at most 2 workers"),
        ({"freeze_num": 1}, "freezes the first blocks of AdamBNN or BCDNet; the MLP has none, use 0"),
    ],
)
def test_a_bad_setting_is_refused_with_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**settings)


def test_a_dictionary_makes_the_same_configuration_again() -> None:
    original = config(lr=2, mask_type="WPM", temperature=5.0)
    assert TrialConfig.from_dict(original.to_dict()) == original


def test_an_unknown_name_in_a_dictionary_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(UserError, match=r"unknown setting learning_rate; use dataset, model"):
        TrialConfig.from_dict({"dataset": "Digits", "model": "MLP", "algorithm": "bop", "learning_rate": 1})
    with pytest.raises(UserError, match="algorithm missing"):
        TrialConfig.from_dict({"dataset": "Digits", "model": "MLP"})


def test_the_fingerprint_ignores_where_data_lie_and_whether_test_is_opened() -> None:
    assert config().fingerprint() == config(data_root="/elsewhere", test=True, device="cpu").fingerprint()
    assert config(lr=1).fingerprint() == config(lr=1.0).fingerprint()
    assert config().fingerprint() != config(seed=2).fingerprint()


def test_a_file_named_by_its_content_is_the_same_wherever_it_lies() -> None:
    name = "Digits-MLP-0123456789abcdef.safetensors"
    here, there = config(pretrained=f"/here/{name}"), config(pretrained=f"elsewhere/{name}")
    assert here.fingerprint() == there.fingerprint() != config(pretrained="x.pth").fingerprint()
    assert config(pretrained="a/x.pth").fingerprint() != config(pretrained="b/x.pth").fingerprint()


def test_settings_that_came_later_leave_a_run_its_fingerprint_at_their_defaults() -> None:
    assert config().fingerprint() == "c5fe42f25aabee65fae9e940ec9bdc0b"  # as before there were counters
    later = [config(inertia_bits=4), config(anneal="cosine"), config(inertia_bits=4, anneal="cosine")]
    assert len({run.fingerprint() for run in (config(), *later)}) == 4


def test_real_space_methods_are_told_apart_by_their_optimizer() -> None:
    assert config(algorithm="real", optimizer="Adam").method == "real-Adam"
    assert config(optimizer="Adam").method == "binary"


def test_the_weight_scale_follows_xnor_and_pretrained_unless_given() -> None:
    assert config().scale_kind == "none"
    assert config(xnor=True).scale_kind == "layer"
    pretrained = {"model": "AdamBNN", "pretrained": "file.pth"}
    assert config(**pretrained).scale_kind == "channel"
    assert config(**pretrained, weight_scale="none").scale_kind == "none"


def test_learning_rates_follow_the_steps_own_batch() -> None:
    assert learning_rates("MLP", 0.5, 96) == (0.5, 0.5)
    real, binary = learning_rates("AdamBNN", 0.5, 384)
    assert (real, binary) == pytest.approx((1.0, 0.1))


def test_an_older_setting_of_another_method_is_named_where_it_is_given_and_kept_where_it_was_recorded() -> None:
    for name, value in {"mask_type": "WPM", "bop_threshold": 1e-3, "width": 0.5}.items():
        with pytest.warns(
            UserWarning, match=f"{name} is a setting of .*, which frozen with MLP does not have.*ignored"
        ):
            TrialConfig("Digits", "MLP", "frozen", **{name: value})
    recorded = {"dataset": "Digits", "model": "MLP", "algorithm": "frozen", "mask_type": "WPM"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = TrialConfig.from_dict(recorded)
        assert config.mask_type == "WPM" and config.replace(epochs=3).mask_type == "WPM"
        assert TrialConfig.from_dict(config.to_dict()) == config
        TrialConfig("Digits", "MLP", "frozen", mask_type="EWM")
