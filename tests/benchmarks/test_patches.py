"""The table of what flips take: its lines say what was coded."""

from benchmarks.patches import SHARES, lines


def test_each_share_has_its_line_and_comes_near_the_entropy() -> None:
    header, *rows = lines(100_000)
    assert header.split() == ["flipped", "kB", "bits", "a", "weight", "entropy"] and len(rows) == len(SHARES)
    share, _, bits, least = rows[SHARES.index(0.01)].split()
    assert share == "1.00%" and float(least) <= float(bits) <= 1.03 * float(least)
