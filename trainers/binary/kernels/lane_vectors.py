"""Innermost loops of `trainers.binary.kernels.cpu_lane_tables`: tables of sums in memory, LANES numbers side by side.

LLVM makes of a row of lanes whatever vector registers the processor has. As in `trainers.binary.kernels.vectors`, each
function here is an `extending.intrinsic` of numba.
"""

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

LANES = 32
TABLE = 16  # rows of a table: the sums of 4 rows with any signs
CODED = 32  # signs in a word of codes, for as many rows
TABLES = CODED // 4 * TABLE * LANES  # floats of the tables that a word of codes looks up
COLUMNS = 64  # of one tile of sums
SQUARE = 8  # side of what is turned at a time

_ROW = LANES * 4  # bytes
_intrinsic: Any = extending.intrinsic
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_LANES = ir.VectorType(ir.FloatType(), LANES)


def _at(builder: Any, address: Any, offset: Any, kind: Any) -> Any:
    offset = ir.Constant(_I64, offset) if isinstance(offset, int) else offset
    return builder.inttoptr(builder.add(address, offset), kind.as_pointer())


@_intrinsic
def lane_tables(context: Any, rows: Any, tables: Any) -> Any:
    """Write the tables of CODED rows at an address: of each four rows a, b, c, d the TABLE rows ±a ±b ±c ±d.

    Bit 0 of a row's number is the sign of a (1 for +), and on. Every row has LANES numbers.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, tables = arguments
        with cgutils.for_range(builder, ir.Constant(_I64, CODED // 4)) as loop:
            source = builder.add(rows, builder.mul(loop.index, ir.Constant(_I64, 4 * _ROW)))
            target = builder.add(tables, builder.mul(loop.index, ir.Constant(_I64, TABLE * _ROW)))
            a, b, c, d = (builder.load(_at(builder, source, row * _ROW, _LANES), align=4) for row in range(4))
            # By two bits: of the first number, of the second. The sums are those of `vectors.sign_table`.
            first, second = (
                (builder.fneg(builder.fadd(x, y)), builder.fsub(x, y), builder.fsub(y, x), builder.fadd(x, y))
                for x, y in ((a, b), (c, d))
            )
            for entry in range(TABLE):
                total = builder.fadd(first[entry & 3], second[entry >> 2])
                builder.store(total, _at(builder, target, entry * _ROW, _LANES), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@_intrinsic
def look_up_lanes(context: Any, sums: Any, tables: Any, codes: Any) -> Any:
    """sums[column] += sum_{j < 8} table_j[(codes[column] >> 4j) & 15] for COLUMNS rows of lanes, at addresses.

    Args:
        sums: COLUMNS rows.
        tables: of `lane_tables`.
        codes: COLUMNS 32-bit words of signs.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, tables, codes = arguments
        with cgutils.for_range(builder, ir.Constant(_I64, COLUMNS)) as loop:
            place = _at(builder, sums, builder.mul(loop.index, ir.Constant(_I64, _ROW)), _LANES)
            code = builder.load(_at(builder, codes, builder.mul(loop.index, ir.Constant(_I64, 4)), _I32), align=4)
            code = builder.zext(code, _I64)
            total = builder.load(place, align=4)
            for table in range(CODED // 4):
                entry = builder.and_(builder.lshr(code, ir.Constant(_I64, 4 * table)), ir.Constant(_I64, TABLE - 1))
                offset = builder.add(
                    builder.mul(entry, ir.Constant(_I64, _ROW)), ir.Constant(_I64, table * TABLE * _ROW)
                )
                total = builder.fadd(total, builder.load(_at(builder, tables, offset, _LANES), align=4))
            builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@_intrinsic
def turn_square(context: Any, source: Any, row: Any, target: Any, column: Any) -> Any:
    """Turn SQUARE x SQUARE floats: rows of `row` bytes at one address become the columns of rows of `column` bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, row, target, column = arguments
        vector = ir.VectorType(ir.FloatType(), SQUARE)

        def places(address: Any, step: Any) -> list[Any]:
            return [
                _at(builder, address, builder.mul(step, ir.Constant(_I64, index)), vector) for index in range(SQUARE)
            ]

        rows = [builder.load(place, align=4) for place in places(source, row)]
        # Exchange single numbers between neighbours, then pairs, then halves.
        for width in (1, 2, 4):
            mixed = list(rows)
            for index in (index for index in range(SQUARE) if not index & width):
                for upper in range(2):
                    mask = [
                        (place & ~width) + width * upper + (SQUARE if place & width else 0) for place in range(SQUARE)
                    ]
                    constant = ir.Constant(ir.VectorType(_I32, SQUARE), mask)
                    mixed[index + width * upper] = builder.shuffle_vector(rows[index], rows[index + width], constant)
            rows = mixed
        for value, place in zip(rows, places(target, column), strict=True):
            builder.store(value, place, align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate
