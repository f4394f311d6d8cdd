"""What every update rule owes, and what each promises; a new rule is tested by being registered."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.binary.kernels.flips import channel_moments, words
from trainers.binary.kernels.philox import ROUNDING, key_of
from trainers.binary.layers import binary_layers
from trainers.binary.weights import PackedWeight
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.methods import UpdateRule, make_update_rule
from trainers.methods.bop import round_stochastically
from trainers.methods.draws import derived_seed
from trainers.methods.masks import flip_probability
from trainers.methods.temperature import LayerDeviation, TemperatureScheduler
from trainers.models import build_model
from trainers.registry import METHODS, method_named
from trainers.testing import RuleContract

PACKED_RULES = tuple(name for name, method in METHODS.all().items() if method.packed)

RULES: list[dict[str, Any]] = [
    *({"algorithm": algorithm, "lr": 0.01} for algorithm in PACKED_RULES),
    {"algorithm": "binary", "mask_type": "WPM", "scheduler_type": "gaussian", "lr": 1.0},
    {"algorithm": "binary", "mask_type": "RAND", "scheduler_type": "const", "temperature": 0.01},
    {"algorithm": "binary", "scheduler_type": "relative", "temperature": 0.05},
    *(
        {"algorithm": "binary", "scheduler_type": "relative", "temperature": 1.0, "inertia_bits": bits}
        for bits in (2, 3, 4, 8)
    ),
    {"algorithm": "binary", "mask_type": "WPM", "scheduler_type": "gaussian", "lr": 1.0, "inertia_bits": 2},
    {
        "algorithm": "binary",
        "mask_type": "RAND",
        "scheduler_type": "const",
        "temperature": 0.5,
        "inertia_bits": 4,
        "anneal": "cosine",
    },
    {"algorithm": "real", "optimizer": "SGD", "lr": 0.5},
    {"algorithm": "real", "optimizer": "Adam", "lr": 0.01},
]


def setting(**settings: Any) -> TrialConfig:
    return TrialConfig(
        **{"dataset": "Digits", "model": "AdamBNN", "batch_size": 4, "width": 0.25, "epochs": 2, **settings}
    )


def start(config: TrialConfig, freeze_num: int = 0) -> tuple[nn.Module, UpdateRule]:
    torch.manual_seed(config.seed)
    model = build_model("AdamBNN", 5, width=config.width, freeze_num=freeze_num)
    return model, make_update_rule(config, model, lambda grad: grad)


def steps(model: nn.Module, rule: UpdateRule, count: int) -> list[int]:
    generator = torch.Generator().manual_seed(11)
    flips = []
    for step in range(count):
        images = torch.randn(4, 3, 32, 32, generator=generator)
        labels = torch.randint(5, (4,), generator=generator)
        rule.start_step(step, 4, 0)
        nn.functional.cross_entropy(model(images), labels).backward()
        rule.finish_step()
        flips.append(rule.flips)
    return flips


def signs(model: nn.Module) -> dict[str, Tensor]:
    return {name: layer.store.signs(slice(None), torch.float32) for name, layer in binary_layers(model)}


@pytest.mark.parametrize("settings", RULES, ids=lambda s: "-".join(str(v) for v in s.values()))
class TestEveryRule(RuleContract):
    @pytest.fixture(autouse=True)
    def _under(self, settings: dict[str, Any]) -> None:
        self.settings = settings  # type: ignore[misc]


@pytest.mark.parametrize("algorithm", PACKED_RULES)
def test_a_packed_rule_leaves_no_float_of_a_binary_layers_size_but_the_state_that_it_declares(algorithm: str) -> None:
    model, rule = start(setting(algorithm=algorithm))
    steps(model, rule, 1)
    sizes = {layer.store.shape.numel() for _, layer in binary_layers(model)}
    assert all(isinstance(layer.store, PackedWeight) for _, layer in binary_layers(model))
    assert not [name for name, p in model.named_parameters() if p.numel() in sizes and "binary" in name]
    declared = method_named(algorithm).state_bits(rule.config) > 1
    keeping = [name for name, layer_rule in rule.layer_rules().items() if layer_rule.tensors()]
    assert keeping == ([name for name, _ in binary_layers(model)] if declared else [])


def test_the_control_changes_no_binary_weight() -> None:
    model, rule = start(setting(algorithm="frozen", lr=1.0))
    before = signs(model)
    assert steps(model, rule, 3) == [0, 0, 0]
    assert all(torch.equal(before[name], weight) for name, weight in signs(model).items())


def test_bops_momentum_starts_at_minus_pretrained_weights_and_at_zero_from_scratch() -> None:
    for pretrained in (True, False):
        model = build_model("AdamBNN", 5, width=0.25)
        latents = {name: layer.weight.detach().clone() for name, layer in binary_layers(model)}
        rule = make_update_rule(setting(algorithm="bop"), model, lambda grad: grad, pretrained)
        for name, layer_rule in rule.layer_rules().items():
            expected = -latents[name] if pretrained else torch.zeros_like(latents[name])
            assert torch.equal(layer_rule.tensors()["momentum"], expected)


def test_bops_momentum_in_sixteen_bits_takes_half_and_still_follows_small_gradients() -> None:
    config = setting(algorithm="bop", bop_momentum_bits=16, lr=0.01)
    model, rule = start(config)
    steps(model, rule, 2)
    states = [tensor for layer_rule in rule.layer_rules().values() for tensor in layer_rule.tensors().values()]
    assert {tensor.dtype for tensor in states} == {torch.bfloat16}
    x = torch.full((40_000,), 1.0 + 2**-11)  # bfloat16 knows 1 and 1 + 2^-7, so 1 in 16 is rounded up
    rounded = round_stochastically(
        x, words(key_of(1), 0, ROUNDING, slice(0, 1), 40_000, torch.device("cpu"))[0]
    ).float()
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 2**-7}
    assert float(rounded.mean()) == pytest.approx(1.0 + 2**-11, abs=5e-5)  # standard error of the mean: 1e-5


def test_an_accumulator_starts_at_the_deviation_of_the_latent_weights() -> None:
    model = build_model("AdamBNN", 5, width=0.25)
    deviations = {name: float(layer.weight.detach().std()) for name, layer in binary_layers(model)}
    rule = make_update_rule(setting(algorithm="binary"), model, lambda grad: grad)
    assert {name: r.scalars()["accumulator"] for name, r in rule.layer_rules().items()} == deviations


def test_seeds_depend_on_every_part_of_their_names() -> None:
    names: list[tuple[int | str, ...]] = [
        (1, "a", 1),
        (2, "a", 1),
        (1, "b", 1),
        (1, "a", 2),
        (11, "a", 1),
        (1, "a", 11),
    ]
    assert len({derived_seed(*parts) for parts in names}) == len(names)


@pytest.mark.parametrize("scheduler_type", ["const", "gaussian", "scaled-gaussian", "relative"])
def test_a_temperature_that_stays_on_the_device_is_that_of_plain_numbers(scheduler_type: str) -> None:
    plain, tensors = (TemperatureScheduler(scheduler_type, temperature=2.0) for _ in range(2))
    for deviation in (0.5, 0.0, 3.0, 1e-4):
        number = plain.step(0.3, deviation)
        tensor = tensors.step(0.3, torch.tensor(deviation, dtype=torch.float64))
        assert float(tensor) == pytest.approx(float(number), rel=1e-15)
    (kept,), (expected,) = tensors.state().values(), plain.state().values()
    assert kept == expected if expected is None else kept == pytest.approx(expected, rel=1e-15)


def test_a_deviation_taken_in_blocks_is_that_of_the_whole() -> None:
    values = 3 + 1e-3 * torch.randn(1000, 7, generator=torch.Generator().manual_seed(2))
    found = []
    for sizes in ([1000], [1, 99, 500, 400]):
        deviation = LayerDeviation(values.shape)
        for block in values.split(sizes):
            deviation.add(channel_moments(block))
        found.append(deviation.take())
    assert found[0] == found[1] == pytest.approx(float(values.double().std()), rel=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "binary"},
        {"algorithm": "bop"},
        *(
            {"algorithm": "binary", "scheduler_type": "relative", "temperature": 2.0, "inertia_bits": bits}
            for bits in (0, 2, 4)
        ),
    ],
    ids=lambda s: "-".join(str(v) for v in s.values()),
)
def test_updating_block_by_block_flips_what_one_block_flips(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for block in (1 << 30, 1 << 9):
        monkeypatch.setattr("trainers.methods.contract._UPDATE_WEIGHTS", block)
        model, rule = start(setting(lr=1.0, **settings))
        assert sum(steps(model, rule, 2 if rule.config.inertia_bits < 4 else 12)) > 0
        results.append(signs(model))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize("scheduler_type", ["const", "gaussian", "scaled-gaussian"])
def test_a_given_temperature_is_the_first_steps_and_lr_cancels_out_of_it(scheduler_type: str) -> None:
    deviations = [0.3, 0.1, 0.7]
    runs = []
    for lr in (0.01, 10.0):
        scheduler = TemperatureScheduler(scheduler_type, temperature=40.0)
        runs.append([scheduler.step(lr, std) for std in deviations])
    assert runs[0][0] == pytest.approx(40.0)
    assert runs[0] == pytest.approx(runs[1])
    if scheduler_type == "const":
        assert runs[0] == [40.0] * 3
    else:
        assert runs[0][2] < runs[0][1] < runs[0][0]


def test_a_scheduler_needs_exactly_one_positive_start() -> None:
    for starts in ({}, {"accumulator": 0.1, "temperature": 1.0}, {"accumulator": 0.0}, {"temperature": float("nan")}):
        with pytest.raises(UserError):
            TemperatureScheduler("gaussian", **starts)
    with pytest.raises(UserError, match="use const, gaussian, scaled-gaussian or relative"):
        TemperatureScheduler("cosine", accumulator=0.1)
    with pytest.raises(UserError, match="use EWM, WPM or RAND"):
        flip_probability("ALL", torch.ones(1), torch.ones(1), 1.0)
