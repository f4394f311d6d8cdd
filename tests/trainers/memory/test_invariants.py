"""A run that checks itself finds what should not be there, and says which tensor it is."""

from pathlib import Path

import pytest
import torch

from tests.trainers.conftest import MakeConfig
from tests.trainers.memory.conftest import MakeStep
from tests.trainers.memory.small import METHODS
from trainers.binary.layers import binary_layers
from trainers.config import TrialConfig
from trainers.errors import InvariantError
from trainers.host import run_local
from trainers.memory.invariants import Bystanders, check_invariants


@pytest.fixture
def bystanders() -> Bystanders:
    """What other tests left behind, seen before this one builds a learner."""
    return Bystanders()


def test_another_runs_tensors_are_not_this_ones(training_step: MakeStep) -> None:
    other = torch.zeros(64, 64)
    bystanders = Bystanders()
    trained = training_step("MLP")
    check_invariants(trained.learner, bystanders)
    assert other.shape == (64, 64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["MLP", "AdamBNN"])
def test_every_method_keeps_the_rules_after_each_step(
    training_step: MakeStep, bystanders: Bystanders, model: str, method: str
) -> None:
    trained = training_step(model, method, hid_dim=61)  # rows that do not fill their last byte
    for _ in range(2):
        trained()
        check_invariants(trained.learner, bystanders)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_counters_keep_the_rules_after_each_step(training_step: MakeStep, bystanders: Bystanders, bits: int) -> None:
    trained = training_step("MLP", hid_dim=61, inertia_bits=bits, scheduler_type="relative", temperature=1.0)
    for _ in range(12):
        trained()
        check_invariants(trained.learner, bystanders)


def test_a_counter_that_cannot_be_is_found(training_step: MakeStep, bystanders: Bystanders) -> None:
    trained = training_step("MLP", hid_dim=61, inertia_bits=4)
    counters = trained.learner.rule.layer_rules()["feature.3"].tensors()["counters"]
    counters[4, 9] = 7
    with pytest.raises(InvariantError, match=r"feature\.3.s counters: one is 7; with 4 bits each lies within -7 .. 6"):
        check_invariants(trained.learner, bystanders)
    counters[4, 9] = 0
    counters[4, -1] = 16  # a row of 61 counters has a place for a 62nd
    with pytest.raises(InvariantError, match=r"feature\.3's counters hold set bits behind the end of a row"):
        check_invariants(trained.learner, bystanders)


def test_a_set_bit_behind_the_end_of_a_row_is_found(training_step: MakeStep, bystanders: Bystanders) -> None:
    trained = training_step("MLP", hid_dim=61)
    layers = dict(binary_layers(trained.learner.model))
    layers["feature.3"].get_buffer("weight_bits")[5, -1] |= 128
    with pytest.raises(InvariantError, match=r"feature\.3\.weight_bits holds set bits behind"):
        check_invariants(trained.learner, bystanders)


def test_a_weight_other_than_one_is_found(
    training_step: MakeStep, bystanders: Bystanders, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = training_step("MLP")
    layer = dict(binary_layers(trained.learner.model))["classifier.0"]
    original = layer.store.signs
    monkeypatch.setattr(layer.store, "signs", lambda rows, dtype: original(rows, dtype) * 0.5)
    with pytest.raises(InvariantError, match=r"classifier\.0 has the weight -?0\.5"):
        check_invariants(trained.learner, bystanders)


def test_a_latent_copy_kept_somewhere_is_found_by_name(training_step: MakeStep, bystanders: Bystanders) -> None:
    trained = training_step("MLP")
    hoard = {"hidden_copy": torch.zeros(64, 64)}
    with pytest.raises(InvariantError, match=r"'hidden_copy' \(64, 64\) torch.float32 .* weights of feature\.3"):
        check_invariants(trained.learner, bystanders)
    del hoard
    check_invariants(trained.learner, bystanders)


def test_a_gradient_that_outlives_its_step_is_found(training_step: MakeStep, bystanders: Bystanders) -> None:
    trained = training_step("MLP", "real-SGD")
    latent = dict(binary_layers(trained.learner.model))["feature.3"].get_parameter("weight")
    latent.grad = torch.zeros_like(latent)
    with pytest.raises(InvariantError, match="is alive between steps"):
        check_invariants(trained.learner, bystanders)


def test_a_latent_tensor_of_a_packed_run_is_found(training_step: MakeStep, bystanders: Bystanders) -> None:
    trained = training_step("MLP")
    layer = dict(binary_layers(trained.learner.model))["feature.3"]
    layer.register_parameter("weight", torch.nn.Parameter(torch.zeros(64, 64)))
    with pytest.raises(InvariantError, match=r"feature\.3\.weight \(64, 64\) is a latent tensor, and binary has none"):
        check_invariants(trained.learner, bystanders)


def test_a_rule_that_keeps_more_than_it_declares_is_found(training_step: MakeStep, bystanders: Bystanders) -> None:
    trained = training_step("MLP", "bop")
    rule = trained.learner.rule.layer_rules()["feature.3"]
    rule.history = [torch.zeros(64, 64, dtype=torch.bool)]  # type: ignore[attr-defined]
    with pytest.raises(InvariantError, match=r"feature\.3: BopLayer keeps history\[0\] \(64, 64\) torch\.bool"):
        check_invariants(trained.learner, bystanders)


@pytest.mark.parametrize("check", [False, True])
def test_a_run_checks_itself_only_if_asked_to(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    checked: list[object] = []
    monkeypatch.setattr("trainers.worker.check_invariants", lambda learner, bystanders: checked.append(learner))
    run_local(digits(epochs=1, batch_size=512, check=check), tmp_path)
    assert len(checked) == (3 if check else 0)


def test_checking_does_not_make_it_another_run(digits: MakeConfig) -> None:
    config: TrialConfig = digits()
    assert config.fingerprint() == config.replace(check=True).fingerprint()
