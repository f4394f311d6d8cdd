"""The search spaces: nothing is asked for that the chosen branch ignores, and ranges are what they say."""

import math
from typing import Any

import optuna
import pytest

from search_spaces import Range, edge_notes, space_for

MODELS = ("AdamBNN", "BCDNet", "MLP")
OPTIONS = [("binary", {"temperature_mode": mode}) for mode in ("decoupled", "coupled")] + [
    (algorithm, {}) for algorithm in ("real", "bop", "frozen")
]
# What is not of the paper, and is asked for only by name.
BEYOND = {"scheduler_type": ["gaussian", "relative"], "anneal": ["none", "cosine"]}
OPTIONS += [("binary", {"temperature_mode": mode, "ranges": BEYOND}) for mode in ("decoupled", "coupled")]
PUBLISHED = {"real_optimizer": "published"}


def drawn(algorithm: str, model: str, count: int = 60, **options: Any) -> list[tuple[dict[str, Any], Any]]:
    """Settings and the frozen Optuna trial of `count` random trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    results = []
    for _ in range(count):
        trial = study.ask()
        settings = space_for(algorithm).suggest(trial, model, **options)
        study.tell(trial, 0.0)
        results.append((settings, study.trials[-1]))
    return results


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("algorithm", "options"), OPTIONS)
def test_a_parameter_keeps_one_distribution_over_all_branches(algorithm: str, options: dict, model: str) -> None:
    seen: dict[str, Any] = {}
    for _, frozen in drawn(algorithm, model, **options):
        for name, distribution in frozen.distributions.items():
            assert seen.setdefault(name, distribution) == distribution


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("algorithm", "options"), OPTIONS)
def test_settings_are_trial_config_fields_that_make_a_config(algorithm: str, options: dict, model: str) -> None:
    config = pytest.importorskip("trainers.config")
    for settings, _ in drawn(algorithm, model, count=20, **options):
        config.TrialConfig(dataset="MNIST", model=model, algorithm=algorithm, **settings)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("algorithm", "options"), OPTIONS)
def test_only_declared_parameters_are_asked_for_within_their_default_ranges(
    algorithm: str, options: dict, model: str
) -> None:
    declared = space_for(algorithm).parameters(model)
    for _, frozen in drawn(algorithm, model, **options):
        for name, value in frozen.params.items():
            if isinstance(value, str):
                assert value in declared[name].values
            else:
                assert declared[name].low <= value <= declared[name].high
                assert frozen.distributions[name].log


def test_decoupled_search_asks_every_branch_for_a_temperature() -> None:
    for settings, _ in drawn("binary", "AdamBNN", fixed=PUBLISHED):
        assert set(settings) == {"mask_type", "scheduler_type", "temperature", "lr"}


@pytest.mark.parametrize("model", MODELS)
def test_decoupled_search_asks_for_no_learning_rate_where_it_trains_no_real_parameter(model: str) -> None:
    for settings, _ in drawn("binary", model):
        assert set(settings) == {"mask_type", "scheduler_type", "temperature"}


def test_temperature_of_rand_is_a_probability_with_a_parameter_of_its_own() -> None:
    for settings, frozen in drawn("binary", "MLP"):
        if settings["mask_type"] == "RAND":
            assert "temperature" not in frozen.params
            assert 1e-5 <= settings["temperature"] <= 1e-1
        else:
            assert "temperature_rand" not in frozen.params
            assert 1.0 <= settings["temperature"] <= 1e5


def test_coupled_search_asks_for_the_learning_rate_instead_of_the_temperature() -> None:
    for settings, _ in drawn("binary", "MLP", temperature_mode="coupled"):
        if settings["mask_type"] != "RAND":
            assert set(settings) == {"mask_type", "scheduler_type", "lr"}


def test_coupled_search_still_asks_rand_for_its_probability_and_the_mlp_for_no_learning_rate_then() -> None:
    asked = [settings for settings, _ in drawn("binary", "MLP", temperature_mode="coupled")]
    assert {frozenset(s) for s in asked if s["mask_type"] == "RAND"} == {
        frozenset({"mask_type", "scheduler_type", "temperature"})
    }


def test_what_is_not_of_the_paper_is_asked_for_only_where_the_ranges_name_it() -> None:
    for settings, _ in drawn("binary", "AdamBNN"):
        assert settings["scheduler_type"] != "relative"
        assert "anneal" not in settings
    asked = [settings for settings, _ in drawn("binary", "AdamBNN", ranges=BEYOND)]
    assert {settings["anneal"] for settings in asked} == {"none", "cosine"}
    for settings, _ in drawn("binary", "AdamBNN", ranges=BEYOND, fixed={"anneal": "cosine"}):
        assert "anneal" not in settings
    trial = optuna.trial.FixedTrial({"lr": 0.1, "mask_type": "EWM", "scheduler_type": "const", "inertia_bits": 4})
    space = space_for("binary")
    assert "inertia_bits" not in space.ask(trial, "MLP", temperature_mode="coupled")
    listed = {"ranges": {"inertia_bits": [0, 4]}, "temperature_mode": "coupled"}
    assert space.ask(trial, "MLP", **listed)["inertia_bits"] == 4
    assert "inertia_bits" not in space.ask(trial, "MLP", fixed={"inertia_bits": 8}, **listed)


@pytest.mark.parametrize("mode", ["decoupled", "coupled"])
def test_temperature_relative_to_the_gradient_has_a_parameter_of_its_own_and_is_never_rands(mode: str) -> None:
    for settings, frozen in drawn("binary", "MLP", ranges=BEYOND, temperature_mode=mode):
        assert settings["mask_type"] != "RAND"
        if settings["scheduler_type"] == "relative":
            assert 1e-3 <= settings["temperature"] == frozen.params["temperature_relative"] <= 10
            assert "temperature" not in frozen.params and "lr" not in settings
        else:
            assert "temperature_relative" not in frozen.params
    for options in (
        {"fixed": {"mask_type": "RAND"}, "ranges": BEYOND},
        {"fixed": {"scheduler_type": "relative"}, "ranges": {"mask_type": ["EWM", "RAND"]}},
    ):
        with pytest.raises(ValueError, match="RAND cannot have scheduler_type relative; offer only one"):
            space_for("binary").is_empty("MLP", temperature_mode=mode, **options)


def test_a_fixed_temperature_leaves_the_mlp_no_learning_rate_to_ask_for() -> None:
    for mode in ("coupled", "decoupled"):
        for settings, _ in drawn("binary", "MLP", fixed={"temperature": 10.0}, temperature_mode=mode):
            assert "lr" not in settings


def test_unknown_temperature_mode_names_the_allowed_ones() -> None:
    with pytest.raises(ValueError, match="decoupled or coupled"):
        drawn("binary", "MLP", temperature_mode="both")


@pytest.mark.parametrize(
    ("algorithm", "fixed"),
    [
        ("binary", {"mask_type": "EWM", "scheduler_type": "const", "lr": 0.1}),
        ("real", {"optimizer": "Adam"}),
        ("bop", {"bop_threshold": 1e-6}),
        ("frozen", {"lr": 0.1}),
    ],
)
def test_what_is_fixed_is_not_asked_for(algorithm: str, fixed: dict) -> None:
    for settings, _ in drawn(algorithm, "AdamBNN", count=20, fixed=fixed):
        assert not set(settings) & set(fixed)


def test_each_optimizer_has_a_learning_rate_range_of_its_own() -> None:
    for settings, frozen in drawn("real", "MLP"):
        assert set(frozen.params) == {"optimizer", f"lr_{settings['optimizer'].lower()}"}


def test_a_fixed_optimizer_chooses_the_learning_rate_range() -> None:
    for optimizer, name in (("SGD", "lr_sgd"), ("Adam", "lr_adam")):
        for _, frozen in drawn("real", "MLP", count=3, fixed={"optimizer": optimizer}):
            assert set(frozen.params) == {name}


def test_learning_rate_range_depends_on_the_model() -> None:
    assert space_for("binary").parameters("MLP")["lr"] == Range(1e-3, 1e2)
    assert space_for("binary").parameters("BCDNet")["lr"] == Range(1e-2, 1e3)  # of which binary layers take a tenth
    assert space_for("binary").parameters("BCDNet", PUBLISHED)["lr"] == Range(1e-5, 1.0)


def test_the_control_of_a_purely_binary_model_has_nothing_to_search() -> None:
    assert space_for("frozen").is_empty("MLP")
    assert space_for("frozen").is_empty("AdamBNN")
    assert not space_for("frozen").is_empty("AdamBNN", fixed=PUBLISHED)
    assert space_for("frozen").is_empty("AdamBNN", fixed={"lr": 0.1, **PUBLISHED})
    assert not space_for("binary").is_empty("MLP", temperature_mode="coupled")


def test_ranges_of_a_study_replace_the_default_ones() -> None:
    ranges = {"temperature": [3, 30], "mask_type": ["EWM"], "scheduler_type": ["gaussian"]}
    for settings, frozen in drawn("binary", "MLP", ranges=ranges):
        assert (settings["mask_type"], settings["scheduler_type"]) == ("EWM", "gaussian")
        assert (frozen.distributions["temperature"].low, frozen.distributions["temperature"].high) == (3.0, 30.0)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"momentum": [0.1, 1]}, "has no parameter 'momentum'; it has mask_type"),
        ({"temperature": [10, 1]}, "0 < low <= high"),
        ({"temperature": [0, 1]}, "0 < low <= high"),
        ({"temperature": [1, math.inf]}, "0 < low <= high"),
        ({"temperature": [1, math.nan]}, "0 < low <= high"),
        ({"temperature": [1, 2, 3]}, "0 < low <= high"),
        ({"temperature": ["a", "b"]}, "0 < low <= high"),
        ({"temperature": 3}, "give a list"),
        ({"temperature": "3"}, "give a list"),
        ({"mask_type": ["EMW"]}, "'EMW' is unknown; use some of EWM, WPM, RAND"),
        ({"mask_type": []}, "give a list"),
        ({"anneal": ["linear"]}, "'linear' is unknown; use some of none, cosine"),
    ],
)
def test_unusable_ranges_are_refused_with_what_is_allowed(ranges: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space_for("binary").check_ranges("MLP", ranges)


def test_unknown_algorithm_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"binary, .*bop, .*frozen, .*real"):
        space_for("adam")


def position(fraction: float) -> float:
    """The value at this fraction of 1 .. 1e5 in log scale."""
    return float(10 ** (5 * fraction))


@pytest.mark.parametrize(("fraction", "edge"), [(0.0, "lower"), (0.04, "lower"), (0.96, "upper"), (1.0, "upper")])
def test_a_value_within_five_percent_of_an_edge_is_reported(fraction: float, edge: str) -> None:
    log_range = optuna.distributions.FloatDistribution(1, 1e5, log=True)
    (note,) = edge_notes({"temperature": position(fraction)}, {"temperature": log_range})
    assert f"{edge} edge of its range 1 .. 100000" in note


@pytest.mark.parametrize("fraction", [0.06, 0.5, 0.94])
def test_a_value_inside_its_range_and_a_choice_are_not_reported(fraction: float) -> None:
    distributions = {
        "temperature": optuna.distributions.FloatDistribution(1, 1e5, log=True),
        "mask_type": optuna.distributions.CategoricalDistribution(["EWM"]),
        "lr": optuna.distributions.FloatDistribution(0.1, 0.1, log=True),
    }
    assert edge_notes({"temperature": position(fraction), "mask_type": "EWM", "lr": 0.1}, distributions) == []


def test_settings_of_memory_are_asked_for_only_where_values_are_listed() -> None:
    trial = optuna.trial.FixedTrial({"lr": 0.001, "bop_threshold": 1e-6, "bop_momentum_bits": 16, "width": 0.5})
    space = space_for("bop")
    assert set(space.ask(trial, "AdamBNN")) == {"lr", "bop_threshold"}
    asked = space.ask(trial, "AdamBNN", ranges={"bop_momentum_bits": [16, 32], "width": [0.5, 1.0]})
    assert (asked["bop_momentum_bits"], asked["width"]) == (16, 0.5)
    fixed = space.ask(trial, "AdamBNN", ranges={"bop_momentum_bits": [16, 32]}, fixed={"bop_momentum_bits": 32})
    assert "bop_momentum_bits" not in fixed


def test_settings_of_memory_leave_no_space_empty() -> None:
    assert space_for("frozen").is_empty("MLP")
    assert not space_for("frozen").is_empty("MLP", ranges={"batch_size": [32, 64]})


@pytest.mark.parametrize(
    ("algorithm", "model", "name"),
    [("binary", "AdamBNN", "bop_momentum_bits"), ("bop", "MLP", "width"), ("real", "MLP", "freeze_num")],
)
def test_a_setting_of_memory_that_means_nothing_there_is_refused(algorithm: str, model: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"no parameter '{name}'; it has .*batch_size, activation_memory"):
        space_for(algorithm).check_ranges(model, {name: [1]})


FILE = {"pretrained": "network.params"}


@pytest.mark.parametrize("algorithm", ["binary", "bop", "bop_channel", "latent", "real", "real_adam8"])
def test_what_a_method_searches_in_fine_tuning_is_not_what_it_searches_from_scratch(algorithm: str) -> None:
    space = space_for(algorithm)
    scratch, tuning = space.parameters("AdamBNN"), space.parameters("AdamBNN", FILE)
    assert scratch.keys() == tuning.keys() - {"temperature_wpm"} and scratch != tuning


def test_in_fine_tuning_wpm_is_asked_for_a_temperature_of_its_own_and_of_it_alone() -> None:
    for mask_type, name in (("WPM", "temperature_wpm"), ("EWM", "temperature")):
        (_, tuned), *_ = drawn("binary", "AdamBNN", count=1, fixed={**FILE, "mask_type": mask_type})
        assert [key for key in tuned.params if key.startswith("temperature")] == [name]
        (_, scratch), *_ = drawn("binary", "AdamBNN", count=1, fixed={"mask_type": mask_type})
        assert [key for key in scratch.params if key.startswith("temperature")] == ["temperature"]
    (_, coupled), *_ = drawn(
        "binary", "AdamBNN", count=1, fixed={**FILE, "mask_type": "WPM"}, temperature_mode="coupled"
    )
    assert "lr" in coupled.params and "temperature_wpm" not in coupled.params


@pytest.mark.parametrize(
    ("algorithm", "fixed", "name", "pilot"),
    [
        ("binary", {"inertia_bits": 0}, "temperature_relative", 3e-4),
        ("binary", {"inertia_bits": 4}, "temperature_relative", 0.02),
        ("binary", {"inertia_bits": 8}, "temperature_relative", 1.0),
        ("real", {"optimizer": "Adam"}, "lr_adam", 1e-4),
        ("real_adam8", {}, "lr", 1e-4),
    ],
)
def test_fine_tuning_is_searched_around_what_a_pilot_found(
    algorithm: str, fixed: dict, name: str, pilot: float
) -> None:
    found = space_for(algorithm).parameters("AdamBNN", {**FILE, **fixed})[name]
    assert 10 * found.low <= pilot <= found.high / 10
    scratch = space_for(algorithm).parameters("AdamBNN", fixed)[name]
    assert found.low < scratch.low or fixed.get("inertia_bits") in (4, 8)


def test_fine_tuning_with_counters_is_searched_by_their_bits_and_over_all_where_these_are_searched() -> None:
    fixed = {**FILE, "mask_type": "EWM", "scheduler_type": "relative"}

    def drawn_range(fixed: dict, **options: Any) -> tuple[float, float]:
        (_, frozen), *_ = drawn("binary", "AdamBNN", count=1, fixed=fixed, **options)
        distribution = frozen.distributions["temperature_relative"]
        return distribution.low, distribution.high

    by_bits = [drawn_range({**fixed, "inertia_bits": bits}) for bits in (0, 2, 3, 4, 8)]
    assert by_bits == sorted(by_bits) and len(set(by_bits)) == 5
    assert drawn_range(fixed) == by_bits[0]  # a run without a word of counters has none
    searched = drawn_range(fixed, ranges={"inertia_bits": [0, 4, 8]})
    assert searched == (by_bits[0][0], by_bits[4][1])
    assert drawn_range(fixed, ranges={"temperature_relative": [0.1, 0.2]}) == (0.1, 0.2)
