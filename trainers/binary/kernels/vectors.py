"""The innermost loops of the CPU kernels, in LLVM's own vectors: what LLVM would not find in a loop over numbers.

A tile of products is PIXELS x LANES counts that stay in registers; LLVM makes of them whatever the processor has
(vpopcntq with AVX-512, look-ups in tables with AVX2, cnt on Arm). Each function here is an `extending.intrinsic` of
numba: it types its arguments and writes the instructions.
"""

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from trainers.binary.kernels import WORD

PIXELS, LANES = 4, 32  # of one tile of counts: 16 of AVX-512's 32 vector registers
_VECTOR = 8  # 64-bit entries of LLVM's vectors here

_intrinsic: Any = extending.intrinsic
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@_intrinsic
def product_tile(context: Any, kind: Any, a: Any, stride: Any, w: Any, words: Any, most: Any, z: Any, row: Any) -> Any:
    """z[p][l] = most - 2·sum_k popcount(a[p][k] xor w[k][l]) for PIXELS rows p and LANES columns l.

    Args:
        kind: an array of z's integers.
        a, w, z: addresses; of `words` 64-bit words a row or column, and of z's first integer.
        stride, row: bytes from one row of a, or of z, to the next.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a, stride, w, words, most, z, row = arguments
        vector = ir.VectorType(_I64, _VECTOR)
        narrow = ir.VectorType(context.get_value_type(kind.dtype), _VECTOR)
        undefined = ir.Constant(vector, ir.Undefined)
        count = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{_VECTOR}i64"
        )

        def at(address: Any, offset: Any, kind: Any) -> Any:
            return builder.inttoptr(builder.add(address, offset), kind.as_pointer())

        def everywhere(scalar: Any) -> Any:
            first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
            return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, _VECTOR), [0] * _VECTOR))

        columns = range(LANES // _VECTOR)
        sums = [[cgutils.alloca_once(builder, vector) for _ in columns] for _ in range(PIXELS)]
        for entries in sums:
            for entry in entries:
                builder.store(ir.Constant(vector, None), entry)
        with cgutils.for_range(builder, words) as loop:
            block = builder.add(w, builder.mul(loop.index, ir.Constant(_I64, LANES * 8)))
            weights = [
                builder.load(at(block, ir.Constant(_I64, column * _VECTOR * 8), vector), align=8) for column in columns
            ]
            word = builder.add(a, builder.mul(loop.index, ir.Constant(_I64, 8)))
            for pixel, entries in enumerate(sums):
                offset = builder.mul(stride, ir.Constant(_I64, pixel))
                same = everywhere(builder.load(at(word, offset, _I64), align=8))
                for entry, weight in zip(entries, weights, strict=True):
                    counted = builder.call(count, [builder.xor(same, weight)])
                    builder.store(builder.add(builder.load(entry), counted), entry)
        highest = everywhere(most)
        for pixel, entries in enumerate(sums):
            first = builder.add(z, builder.mul(row, ir.Constant(_I64, pixel)))
            for column, entry in enumerate(entries):
                twice = builder.shl(builder.load(entry), ir.Constant(vector, [1] * _VECTOR))
                place = at(first, ir.Constant(_I64, column * _VECTOR * kind.dtype.bitwidth // 8), narrow)
                builder.store(builder.trunc(builder.sub(highest, twice), narrow), place, align=kind.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 7), generate


def _sign_bits(builder: Any, values: Any) -> Any:
    """The bits [value >= 0] of a vector of WORD floats as one word."""
    return builder.bitcast(builder.fcmp_ordered(">=", values, ir.Constant(values.type, None)), _I64)


@_intrinsic
def biased_word(context: Any, kind: Any, x: Any, bias: Any) -> Any:
    """The word of sgn(x + bias) for the WORD floats of `kind` (an array of it) at two addresses."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(kind.dtype), WORD)
        values, biases = (
            builder.load(builder.inttoptr(address, vector.as_pointer()), align=4) for address in arguments[1:]
        )
        return _sign_bits(builder, builder.fadd(values, biases))

    return types.uint64(kind, types.intp, types.intp), generate


@_intrinsic
def sign_word(context: Any, kind: Any, x: Any) -> Any:
    """(the word of sgn(x), the word of [|x| = 1]) for the WORD floats of `kind` at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scalar = context.get_value_type(kind.dtype)
        vector = ir.VectorType(scalar, WORD)
        values = builder.load(builder.inttoptr(arguments[1], vector.as_pointer()), align=4)
        ones = [builder.fcmp_ordered("==", values, ir.Constant(vector, [sign] * WORD)) for sign in (1.0, -1.0)]
        both = builder.bitcast(builder.or_(*ones), _I64)
        return context.make_tuple(builder, signature.return_type, [_sign_bits(builder, values), both])

    return types.UniTuple(types.uint64, 2)(kind, types.intp), generate


@_intrinsic
def count_ones(context: Any, word: Any) -> Any:
    """How many bits of a word are 1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I64, [_I64]), "llvm.ctpop.i64")
        return builder.call(count, arguments)

    return types.int64(types.uint64), generate
