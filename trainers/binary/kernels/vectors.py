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


@_intrinsic
def nine_words(context: Any, bits: Any, words: Any) -> Any:
    """Take apart 9·64 bits at an address, 9 of a channel together, into one word of 64 channels for each of the 9."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, words = arguments
        taps = 9
        bytes_ = ir.VectorType(ir.IntType(8), taps * 8)
        wide = ir.VectorType(ir.IntType(16), WORD)
        row = builder.load(builder.inttoptr(bits, bytes_.as_pointer()), align=1)
        windows: Any = None  # of 16 bits, in which a channel's 9 lie
        for ahead in range(2):
            places = [min(taps * channel // 8 + ahead, taps * 8 - 1) for channel in range(WORD)]
            mask = ir.Constant(ir.VectorType(_I32, WORD), places)
            part = builder.zext(builder.shuffle_vector(row, ir.Constant(bytes_, ir.Undefined), mask), wide)
            windows = part if ahead == 0 else builder.or_(windows, builder.shl(part, ir.Constant(wide, [8] * WORD)))
        windows = builder.lshr(windows, ir.Constant(wide, [taps * channel % 8 for channel in range(WORD)]))
        for tap in range(taps):
            found = builder.and_(windows, ir.Constant(wide, [1 << tap] * WORD))
            word = builder.bitcast(builder.icmp_unsigned("!=", found, ir.Constant(wide, None)), _I64)
            builder.store(word, builder.inttoptr(builder.add(words, ir.Constant(_I64, 8 * tap)), _I64.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


TABLE = 16  # entries of a table: the sums of 4 numbers with any signs, one vector register of AVX-512
ROWS, COLUMNS = 4, 64  # of one tile of looked-up sums
_CODES = 8  # tables that a 32-bit word of signs is the index of, 4 bits each


@_intrinsic
def sign_table(context: Any, table: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Write the TABLE sums ±a ±b ±c ±d at an address: bit 0 of an entry's number is the sign of a (1 for +), and on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, *numbers = arguments
        vector = ir.VectorType(ir.FloatType(), TABLE)
        undefined = ir.Constant(vector, ir.Undefined)
        same = ir.Constant(ir.VectorType(_I32, TABLE), [0] * TABLE)
        parts = []
        for bit, number in enumerate(numbers):
            first = builder.insert_element(undefined, number, ir.Constant(_I32, 0))
            everywhere = builder.shuffle_vector(first, undefined, same)
            signs = ir.Constant(vector, [1.0 if entry >> bit & 1 else -1.0 for entry in range(TABLE)])
            parts.append(builder.fmul(everywhere, signs))
        total = builder.fadd(builder.fadd(parts[0], parts[1]), builder.fadd(parts[2], parts[3]))
        builder.store(total, builder.inttoptr(address, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, *[types.float32] * 4), generate


@_intrinsic
def look_up_tile(
    context: Any, sums: Any, row: Any, first: Any, second: Any, third: Any, fourth: Any, codes: Any, words: Any
) -> Any:
    """sums[r][l] += sum_i sum_{j < 8} table_r[8i + j][(codes[i][l] >> 4j) & 15], for ROWS rows and COLUMNS columns l.

    Args:
        sums: address of float32 sums, `row` bytes from one row to the next.
        first, second, third, fourth: addresses of each row's tables, one after the other.
        codes: address of 32-bit words of signs, COLUMNS side by side, `words` times.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, row, *tables, codes, words = arguments
        vector, whole = ir.VectorType(ir.FloatType(), TABLE), ir.VectorType(_I32, TABLE)
        permute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector, whole]), "llvm.x86.avx512.permvar.sf.512"
        )

        def at(address: Any, offset: Any, kind: Any) -> Any:
            return builder.inttoptr(builder.add(address, offset), kind.as_pointer())

        def bytes_(count: int) -> Any:
            return ir.Constant(_I64, count)

        columns = range(COLUMNS // TABLE)
        places = [
            [at(builder.add(sums, builder.mul(row, bytes_(r))), bytes_(64 * column), vector) for column in columns]
            for r in range(ROWS)
        ]
        held = [[cgutils.alloca_once(builder, vector) for _ in columns] for _ in range(ROWS)]
        for r in range(ROWS):
            for column in columns:
                builder.store(builder.load(places[r][column], align=4), held[r][column])
        with cgutils.for_range(builder, words) as loop:
            block = builder.add(codes, builder.mul(loop.index, bytes_(COLUMNS * 4)))
            indices = [builder.load(at(block, bytes_(64 * column), whole), align=4) for column in columns]
            offset = builder.mul(loop.index, bytes_(_CODES * TABLE * 4))
            for code in range(_CODES):
                place = builder.add(offset, bytes_(code * TABLE * 4))
                for r in range(ROWS):
                    table = builder.load(at(tables[r], place, vector), align=4)
                    for column in columns:
                        found = builder.call(permute, [table, indices[column]])
                        builder.store(builder.fadd(builder.load(held[r][column]), found), held[r][column])
                if code < _CODES - 1:
                    four = ir.Constant(whole, [4] * TABLE)
                    indices = [builder.lshr(index, four) for index in indices]
        for r in range(ROWS):
            for column in columns:
                builder.store(builder.load(held[r][column]), places[r][column], align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), generate


@_intrinsic
def turn_words(context: Any, words: Any, turned: Any) -> Any:
    """Turn 32 words of 64 bits into 64 words of 32 bits, at addresses: bit b of word w becomes bit w of word b."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, turned = arguments
        vector = ir.VectorType(_I32, WORD)
        total: Any = ir.Constant(vector, None)
        for row in range(32):
            address = builder.inttoptr(builder.add(words, ir.Constant(_I64, 8 * row)), _I64.as_pointer())
            bits = builder.bitcast(builder.load(address, align=8), ir.VectorType(ir.IntType(1), WORD))
            ones = ir.Constant(vector, [1 << row if row < 31 else -(1 << 31)] * WORD)
            total = builder.or_(total, builder.select(bits, ones, ir.Constant(vector, None)))
        builder.store(total, builder.inttoptr(turned, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate
