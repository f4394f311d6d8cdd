"""Random draws that depend on nothing but their names: (seed, layer, step).

A generator of one's own for every layer and step: replicas cannot drift apart, a resumed run draws what an
uninterrupted one would have drawn, and the order in which layers are updated does not matter.
"""

import hashlib

import torch


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from a sequence of numbers and names; any change of one part gives an unrelated seed."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(device: torch.device, *parts: int | str) -> torch.Generator:
    """A generator on `device`, seeded by `parts`."""
    return torch.Generator(device).manual_seed(derived_seed(*parts))
