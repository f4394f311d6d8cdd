"""The pretrained files that `python -m study pretrain` writes: a network's bits, real parameters, and what it is.

One safetensors file. Binary layers are in it as bits (`NAME.weight_bits`, 1 bit a weight) with their weight scale, if
they have one; all else under its own name. The metadata say what was trained on what, by what commit, how well. The
file's name ends with the first 16 digits of its SHA-256, so that it is the same file wherever it lies.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from trainers.atomic import write_atomically
from trainers.binary.bits import unpack_signs
from trainers.binary.layers import packed_state
from trainers.content_names import content_digits
from trainers.errors import UserError

FORMAT = "binsfo-pretrained-1"


@dataclass(frozen=True)
class OwnFile:
    """What such a file holds.

    Attributes:
        model: the network's name.
        options: those that it was built with.
        heads: how the names of the tensors begin that hang on the number of classes.
        about: data set, classes, fingerprints, configuration, commit and accuracy, as plain values.
        tensors: as they are in the file.
    """

    model: str
    options: Mapping[str, Any]
    heads: tuple[str, ...]
    about: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def state(self, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under the names of a network with latent weights: a binary weight is its sign, or its sign times
        its scale. What does not fit keeps its own name, which the network does not have.

        Args:
            expected: the state of the network that is to take them; it says the shapes.
        """
        state = dict(self.tensors)
        for name, bits in self.tensors.items():
            layer = name.removesuffix(".weight_bits")
            if layer == name or f"{layer}.weight" not in expected:
                continue
            wanted = expected[f"{layer}.weight"]
            scale = self.tensors.get(f"{layer}.weight_scale")
            rows = wanted.shape[0]
            fits = bits.shape == (rows, -(-wanted.numel() // rows // 8)) and bits.dtype == torch.uint8
            if not fits or (scale is not None and (scale.shape not in ((), (rows,)) or scale.dtype != wanted.dtype)):
                continue
            signs = unpack_signs(bits, wanted.shape, wanted.dtype)
            del state[name]
            if scale is not None:
                del state[f"{layer}.weight_scale"]
                signs = signs * scale.reshape(-1, *[1] * (wanted.dim() - 1))
            state[f"{layer}.weight"] = signs
        return state

    @property
    def scaled(self) -> frozenset[str]:
        """The binary layers that have a weight scale."""
        return frozenset(name.removesuffix(".weight_scale") for name in self.tensors if name.endswith(".weight_scale"))

    def line(self) -> str:
        """What it is, in a line."""
        classes = f" (classes {self.about['classes']})" if self.about.get("classes") else ""
        accuracy = self.about.get("val_accuracy")
        known = f", validation accuracy {100 * accuracy:.1f} %" if isinstance(accuracy, float) else ""
        return f"{self.model} pretrained on {self.about.get('dataset')}{classes}{known}"


def save_pretrained(
    folder: Path,
    label: str,
    model: nn.Module,
    name: str,
    options: Mapping[str, Any],
    heads: tuple[str, ...],
    about: Mapping[str, Any],
) -> Path:
    """Write a network, which must be packed, as `FOLDER/LABEL-<16 digits>.safetensors`, whole or not at all.

    Args:
        folder: is made where it is not there.
        label: begins the file's name.
        model: the network, with packed stores.
        name, options, heads, about: see `OwnFile`.
    """
    described = {"model": name, "options": dict(options), "heads": list(heads), "about": dict(about)}
    # One entry: several would stand in any order, and with them the file's digest would change.
    content = safetensors.torch.save(packed_state(model), {FORMAT: json.dumps(described)})
    path = folder / f"{label}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda partial: partial.write_bytes(content))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); give another --output") from error
    return path


def describe_own(path: Path) -> dict[str, Any] | None:
    """What a file of ours says of itself (`model`, `options`, `heads`, `about`), its tensors unread; None for others.

    Raises:
        UserError: it is one of ours, and damaged.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except Exception:  # whatever a damaged file makes the reader raise is said by who reads its tensors
        return None
    if FORMAT not in metadata:
        return None
    try:
        described = json.loads(metadata[FORMAT])
        heads, texts = described["heads"], [described["model"], *described["heads"]]
        if not all(isinstance(text, str) and text for text in texts) or not isinstance(heads, list):
            raise ValueError("a name in it is no text")
        if not isinstance(described["options"], dict) or not isinstance(described["about"], dict):
            raise ValueError("a part of it is missing")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} does not say what it holds ({error!r}); get the file again") from None
    return dict(described)


def as_own(path: Path, content: object, sha256: str) -> OwnFile | None:
    """A file of ours from what `safe_read.read_checkpoint` read of it and its SHA-256; None for others.

    Raises:
        UserError: it is not what it was when it got its name.
    """
    described = describe_own(path)
    if described is None or not isinstance(content, Mapping):
        return None
    digits, named = sha256[:16], content_digits(path)
    if named not in (None, digits):
        raise UserError(
            f"{path} is not what it was when it was written (SHA-256 {digits}..., its name says {named}); get the "
            "file again"
        )
    return OwnFile(
        described["model"], described["options"], tuple(described["heads"]), described["about"], dict(content)
    )
