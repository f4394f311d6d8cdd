"""What a patch's flips take: 11.2 million weights that flip independently, by the share that flips.

python -m benchmarks.patches
"""

import numpy as np

from trainers.binary.flip_codes import decode, encode, entropy_bits

WEIGHTS = 11_200_000
SHARES = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 0.5)


def lines(weights: int = WEIGHTS) -> list[str]:
    """A header and a line for each share."""
    draws = np.random.default_rng(1).random(weights)
    found = [f"{'flipped':>8} {'kB':>8} {'bits a weight':>14} {'entropy':>8}"]
    for share in SHARES:
        code = encode(draws < share)
        assert (decode(code) == (draws < share)).all()
        bits, least = 8 * code.nbytes / weights, entropy_bits(weights, code.count) / weights
        found.append(f"{share:>8.2%} {code.nbytes / 1e3:>8.1f} {bits:>14.4f} {least:>8.4f}")
    return found


if __name__ == "__main__":
    print("\n".join(lines()))
