"""The memory ladder measures each technique in a process of its own and compares it with conventional training."""

import json
from collections.abc import Iterator

import pytest
import torch

from benchmarks import memory
from benchmarks.memory import FAIR, LADDER, UNBOUNDED, Figures, Rung, Work, markdown, measure, measure_apart, verdict
from benchmarks.step import make_step
from trainers.binary import weights
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.memory.report import CATEGORIES
from trainers.models import packed_residual
from trainers.registry import METHODS

MLP = Work(
    "a small MLP",
    TrialConfig("any", "MLP", "binary", image_size=8, hid_dim=32, depth=2, batch_size=8, device="cpu"),
    10,
    1,
    0.5,
)
CONVOLUTIONS = Work(
    "a narrow AdamBNN",
    TrialConfig(
        "any", "AdamBNN", "binary", image_size=32, width=0.125, batch_size=4, device="cpu", real_optimizer="published"
    ),
    10,
    3,
    0.5,
)


@pytest.fixture(autouse=True)
def as_shipped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore what `measure` changes for good."""
    monkeypatch.setattr(weights, "BLOCK_WEIGHTS", weights.BLOCK_WEIGHTS)
    monkeypatch.setattr(packed_residual, "CHUNK_ELEMENTS", packed_residual.CHUNK_ELEMENTS)
    yield


def figures(total: int, seconds: float) -> Figures:
    return Figures(dict.fromkeys(CATEGORIES, 0) | {"workspace": total}, [seconds] * 3, "CPU time", "cpu")


@pytest.mark.integration
def test_a_rung_is_measured_in_a_process_of_its_own() -> None:
    before = weights.BLOCK_WEIGHTS
    found = measure_apart(MLP, LADDER[1], 2)
    assert before == weights.BLOCK_WEIGHTS
    assert len(found.seconds_of_each) == 2 and found.seconds > 0
    assert set(found.memory) == set(CATEGORIES) and found.total > found.memory["weights"] > 0


@pytest.mark.slow
def test_each_rung_takes_away_what_its_title_says() -> None:
    conventional, bits, blocks = (measure(CONVOLUTIONS, rung, 1) for rung in (LADDER[0], LADDER[1], LADDER[2]))
    assert weights.BLOCK_WEIGHTS == UNBOUNDED  # rung 2; every rung's process starts as shipped
    packed = measure(CONVOLUTIONS, LADDER[3], 1)
    assert packed_residual.CHUNK_ELEMENTS == UNBOUNDED
    assert conventional.memory["latent"] > 0 and conventional.memory["weights"] == 0
    for later in (bits, blocks, packed):
        assert later.memory["latent"] == 0 and later.memory["optimizer_state"] == 0 and later.memory["weights"] > 0
        assert later.total < conventional.total
    assert packed.memory["saved_activations"] < blocks.memory["saved_activations"]


def test_a_lean_adam_needs_less_at_the_peak_and_the_ladder_names_it() -> None:
    conventional, lean = measure(MLP, LADDER[0], 1), measure(MLP, LADDER[-1], 1)
    assert "fused" in LADDER[-1].title
    assert lean.memory["optimizer_state"] == conventional.memory["optimizer_state"]
    assert lean.total < conventional.total
    with pytest.raises(UserError, match="no Adam"):
        make_step(MLP.config, 10, 1).lean_adam()


def test_the_fair_ladder_shows_every_algorithm_as_shipped_with_both_activation_memories() -> None:
    assert {rung.changes["algorithm"] for rung in FAIR} <= set(METHODS.all())
    *both, lean = FAIR
    assert lean.lean and lean.changes == FAIR[0].changes
    for stock, packed in zip(both[::2], both[1::2], strict=True):
        assert packed.changes == stock.changes | {"activation_memory": "packed"}
        assert FAIR[packed.compared_with] is stock
    assert all(rung.blocks and rung.chunks for rung in FAIR)


@pytest.mark.parametrize("ladder", [LADDER, FAIR])
def test_limits_are_judged_by_the_shipped_packed_path_against_conventional_and_stock(ladder: tuple[Rung, ...]) -> None:
    packed, stock = len(ladder) - 2, 2 if ladder is LADDER else len(ladder) - 3
    found = [figures(1000, 99.0) for _ in ladder]
    found[packed], found[stock] = figures(100, 3.0), figures(500, 2.0)
    says = verdict(MLP, ladder, found)
    assert says["memory_ratio"] == pytest.approx(0.1) and says["memory_met"] is True
    assert says["time_ratio"] == pytest.approx(1.5) and says["time_met"] is False


def test_the_table_says_bytes_in_mib_the_ratio_the_change_and_what_is_met() -> None:
    found = [figures(size * 2**20, 2.0) for size in (1000, 800, 600, 150, 120, 900)]
    table = markdown(MLP, LADDER, found).splitlines()
    rows = [line for line in table if line.startswith("|")]
    assert len(rows) == 2 + len(LADDER) and len({line.count("|") for line in rows}) == 1
    assert [cell.strip() for cell in rows[5].split("|")][-6:-1] == ["150.0", "150.0", "0.150", "-75 %", "4.00"]
    assert "- memory, binary packed to conventional: 0.120 (at most 0.5: met)" in table
    assert "- time, binary packed to binary stock: 1.00 (at most 1.3: met)" in table


def test_the_limit_of_a_row_holds_for_its_own_batch_alone() -> None:
    assert MLP.on("cpu", 1, None).limit == MLP.on("cpu", 2, 8).limit == 0.5
    assert MLP.on("cpu", 1, 16).limit is None and MLP.on("cuda", 1, None).limit is None


def test_the_script_prints_a_json_line_a_rung_and_the_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "WORKS", {"small": MLP})
    monkeypatch.setattr(memory, "measure_apart", lambda work, rung, steps: figures(100, 0.5))
    assert memory.main(["--json", "--rows", "small", "--steps", "1"]) == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["rung"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert line["images_per_second"] == 16 and line["ratio"] == 1 and line["config"]["model"] == "MLP"
        assert {"hardware", "git_commit", "versions", "threads", "clock"} <= line.keys()
    assert last["memory_met"] is False and last["time_met"] is True
    assert memory.main(["--rows", "small", "--fair"]) == 0
    assert capsys.readouterr().out.count("\n| ") == 2 + len(FAIR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "resnet"], "row resnet is unknown; use some of adambnn-128"),
        (["--rows", "mlp", "--steps", "0"], "steps is 0; time at least 1"),
        (["--rows", "mlp", "--device", "tpu"], "device 'tpu' is unknown"),
        pytest.param(
            ["--rows", "mlp", "--device", "cuda"],
            "torch finds no GPU here; use cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "measure_apart", measure)
    assert memory.main(options) == 2
    assert message in capsys.readouterr().err
