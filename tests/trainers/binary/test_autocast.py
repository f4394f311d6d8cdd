"""Under autocast a network of latent binary weights trains with 16-bit products, as a conventional rival would."""

import torch

from trainers.binary.bits import sgn
from trainers.models import build_model


def test_a_binary_network_trains_under_autocast_with_float32_gradients() -> None:
    torch.manual_seed(0)
    model = build_model("AdamBNN", 5, width=0.25)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    parameters = list(model.parameters())
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in parameters)
    assert sum(float(parameter.grad.abs().sum()) for parameter in parameters if parameter.grad is not None) > 0


def test_signs_multiply_exactly_in_sixteen_bits() -> None:
    layer = next(module for module in build_model("AdamBNN", 5, width=0.25).modules() if hasattr(module, "store"))
    signs = sgn(torch.randn(2, layer.store.shape[1], 6, 6, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        product = layer(signs)
    assert product.dtype == torch.bfloat16
    exact = layer(signs)
    assert float(exact.abs().max()) <= 256, "whole numbers that bfloat16 holds"
    assert torch.equal(product.float(), exact)
