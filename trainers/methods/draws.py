"""Seeds that depend on nothing but their names: (seed, layer), (seed, epoch).

Replicas cannot drift apart, a resumed run draws what an uninterrupted one would have drawn, and the order in which
things are drawn does not matter. `trainers.binary.kernels.philox` draws for a layer's weights, keyed by such a seed.
"""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from a sequence of numbers and names; any change of one part gives an unrelated seed."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
