"""Compile every GPU kernel for a Hopper GPU as its callers launch it, on a machine that has none; prints their names.

Triton's interpreter computes what a kernel says, and takes much that its compiler refuses. A program of its own, since
the interpreter is chosen where a kernel is defined.
"""

from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type

from trainers.binary.bits import pack_bits
from trainers.binary.counters import pack_counters
from trainers.binary.kernels import Geometry, flips, gpu, gpu_flips, gpu_unit, unit_passes

HOPPER = GPUTarget("cuda", 90, 32)
compiled: dict[tuple[Any, ...], int] = {}


def compile_only(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> None:
    """In place of a launch: results stay as their memory was."""
    options = {name: named.pop(name) for name in list(named) if name not in kernel.arg_names}
    values = dict(zip(kernel.arg_names, arguments, strict=False)) | named
    constants = {kernel.arg_names[place]: values[kernel.arg_names[place]] for place in kernel.constexprs}
    types = {name: "constexpr" if name in constants else mangle_type(value) for name, value in values.items()}
    key = (kernel.__name__, *types.items(), *constants.items())
    if key not in compiled:
        made = triton.compile(ASTSource(kernel, types, constexprs=constants), target=HOPPER, options=options)
        compiled[key] = len(made.asm["cubin"])


JITFunction.run = compile_only

unit_passes.agrees(gpu_unit, torch.device("cpu"))
for window in (Geometry(3, 1, 1), Geometry(3, 2, 1, ones=True), Geometry()):
    positive = torch.rand(20, 70, window.kernel, window.kernel) < 0.5
    gpu.sign_product(torch.ones(2, 70, 8, 8), pack_bits(positive), window)
sums = torch.empty(2 * 64, 20, dtype=torch.int32)
words = gpu.pack_weights(pack_bits(positive), 70, 1)
gpu.product(gpu.pack_signs(torch.ones(2, 70, 8, 8), torch.zeros(70)), (2, 8, 8), words, 70, window, sums, True)
positive = torch.rand(20, 300) < 0.5
for mask_type in flips.KINDS:
    for bits in (0, 2, 3, 4, 8):
        counters = pack_counters(torch.zeros(20, 300, dtype=torch.int8), bits) if bits else None
        event = (flips.KINDS[mask_type], torch.ones((), dtype=torch.float64), (1, 2), 3)
        gpu_flips.flip_channels(pack_bits(positive), torch.ones(20, 300), 0, *event, counters, bits)
print(*sorted({str(name) for name, *_ in compiled}))
