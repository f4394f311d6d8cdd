"""Draws are a function of their place alone, and those of the published generator."""

import pytest
import torch

from trainers.binary.kernels.flips import words
from trainers.binary.kernels.philox import MASKS, ROUNDING, key_of, uniform, words_reference

CPU = torch.device("cpu")
KEY = key_of(0x1234_5678_9ABC_DEF0 >> 1)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        # Salmon et al.'s own known answers for philox4x32-10.
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_words_are_the_published_generators(
    counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    column, row, step, stream = counter
    real = torch.arange
    # A column of 0x243f6a88 exists in no layer: the counter's first word is shifted instead.
    monkeypatch.setattr(torch, "arange", lambda *a, **k: real(*a, **k) + (column if len(a) == 1 else 0))
    drawn = words_reference(key, step, stream, slice(row, row + 1), 4, CPU)
    assert [int(word) & 0xFFFFFFFF for word in drawn[0]] == list(answer)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 27, 64, 1001])
def test_compiled_words_are_those_of_the_twin(columns: int) -> None:
    for stream in (MASKS, ROUNDING):
        rows = slice(3, 8)
        assert torch.equal(
            words(KEY, 2**33 + 7, stream, rows, columns, CPU), words_reference(KEY, 7, stream, rows, columns, CPU)
        )


def test_a_weights_draw_is_the_same_in_any_block_and_for_any_number_of_threads() -> None:
    whole = words(KEY, 5, MASKS, slice(0, 40), 1000, CPU)
    parts = [words(KEY, 5, MASKS, slice(start, start + 5), 1000, CPU) for start in range(0, 40, 5)]
    assert torch.equal(whole, torch.cat(parts))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(whole, words(KEY, 5, MASKS, slice(0, 40), 1000, CPU))
    finally:
        torch.set_num_threads(before)


def test_draws_differ_by_seed_step_stream_channel_and_column() -> None:
    base = words(KEY, 5, MASKS, slice(0, 2), 100, CPU)
    others = [
        words(key_of(1), 5, MASKS, slice(0, 2), 100, CPU),
        words(KEY, 6, MASKS, slice(0, 2), 100, CPU),
        words(KEY, 5, ROUNDING, slice(0, 2), 100, CPU),
        words(KEY, 5, MASKS, slice(2, 4), 100, CPU),
    ]
    assert all(torch.count_nonzero(base == other) <= 1 for other in others)
    assert len(base.unique()) >= 199


def test_a_uniform_draw_is_a_multiple_of_its_spacing_and_half_of_it_where_that_is_zero() -> None:
    u = uniform(torch.tensor([0, 255, 256, 512, -1], dtype=torch.int32))
    assert u.tolist() == [2.0**-25, 2.0**-25, 2.0**-24, 2.0**-23, 1 - 2.0**-24]


def test_uniform_draws_fill_the_unit_interval() -> None:
    u = uniform(words(KEY, 0, MASKS, slice(0, 100), 10_000, CPU))
    assert 0 <= float(u.min()) < 1e-5 and 1 - 1e-5 < float(u.max()) < 1
    # 10^6 draws: mean and the shares of 20 bins within five of their standard deviations.
    assert abs(float(u.double().mean()) - 0.5) < 5 * (1 / 12) ** 0.5 / 1e3
    shares = torch.histc(u, bins=20, min=0, max=1) / u.numel()
    assert float((shares - 0.05).abs().max()) < 5 * (0.05 * 0.95) ** 0.5 / 1e3
