"""Small configurations of every model under every method."""

from typing import Any

from trainers.config import TrialConfig

METHODS: dict[str, dict[str, Any]] = {
    "binary": {"algorithm": "binary"},
    "bop": {"algorithm": "bop"},
    "frozen": {"algorithm": "frozen"},
    "real-SGD": {"algorithm": "real", "optimizer": "SGD"},
    "real-Adam": {"algorithm": "real", "optimizer": "Adam"},
}


def make(model: str, method: str = "binary", **settings: Any) -> TrialConfig:
    """A small configuration of a model under a method, on images of a catalogued data set's shape."""
    sizes: dict[str, dict[str, Any]] = {"MLP": {"hid_dim": 64, "depth": 3}, "AdamBNN": {"width": 0.25}}
    small = {**sizes, **dict.fromkeys(("BCDNet", "ResNet18"), sizes["AdamBNN"])}.get(model, {})
    dataset = "MNIST" if model == "MLP" else "CIFAR10"
    common = {"dataset": dataset, "model": model, "batch_size": 4, "image_size": 32, "lr": 1e-2, "device": "cpu"}
    return TrialConfig(**{**common, **small, **METHODS[method], **settings})
