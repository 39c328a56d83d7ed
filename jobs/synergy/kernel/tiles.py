"""Tiles of a matrix product that live in vector registers, and the other vector instructions of the kernel.

A tile is ROWS x COLUMNS numbers of Y = A X, held in registers while k runs: y_ij is one chain of fused
multiply-adds over k = 0, 1, 2, ..., whatever the tile's shape. The bits of a product therefore depend neither on the
width of the machine's registers, nor on where in the matrix an element lies, nor on a BLAS library and its threads.

    address_of(array)               pointer to the elements of a contiguous float32 array
    at(p, i)                        p + i
    make_tile(rows, start, finish)  intrinsic that computes one tile
    row_sum(p, n)                   sum of n = 16 k floats, sixteen running sums added pairwise at the end
    sum_of_squares(p, n)            the same in double precision, of the squares, for any n
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

N_LANES = 16
FLOAT = ir.FloatType()
DOUBLE = ir.DoubleType()
INT64 = ir.IntType(64)
INT32 = ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, N_LANES)
DOUBLES = ir.VectorType(DOUBLE, N_LANES)
POINTER = types.CPointer(types.float32)

# Accumulators and operands must fit the register file: 32 registers of 16 floats, or 16 of 8.
WIDE = bool(binding.get_host_cpu_features().get("avx512f", False))
VECTORS = 2 if WIDE else 1
TALL, MIDDLE = (8, 4) if WIDE else (6, 2)
COLUMNS = N_LANES * VECTORS
PADDING = 32
"""Every buffer's row length is a multiple of this many columns, on any machine."""

Start = Literal["zero", "bias", "load"]
Finish = Literal["store", "relu", "mask"]


def _constant(value: int) -> ir.Constant:
    return ir.Constant(INT64, value)


def _splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(INT32, N_LANES), [0] * N_LANES))


def _load(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    loaded = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()))
    loaded.align = 4
    return loaded


def _store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    builder.store(value, builder.bitcast(pointer, VECTOR.as_pointer())).align = 4


def _fma(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    suffix = "v16f32" if x.type == VECTOR else "v16f64"
    kind = ir.FunctionType(x.type, [x.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.{suffix}"), [x, y, z])


def _pairwise(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    width = N_LANES
    while width > 1:
        width //= 2
        low = ir.Constant(ir.VectorType(INT32, width), list(range(width)))
        high = ir.Constant(ir.VectorType(INT32, width), list(range(width, 2 * width)))
        vector = builder.fadd(builder.shuffle_vector(vector, vector, low), builder.shuffle_vector(vector, vector, high))
    return builder.extract_element(vector, ir.Constant(INT32, 0))


@intrinsic
def address_of(typingctx: Any, array: Any) -> Any:
    """Pointer to the first element of a contiguous float32 array; who takes it keeps the array alive."""
    if not (isinstance(array, types.Array) and array.layout == "C" and array.dtype == types.float32):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return POINTER(array), codegen


@intrinsic
def at(typingctx: Any, pointer: Any, offset: Any) -> Any:
    """Pointer to an element further on."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return POINTER(POINTER, types.intp), codegen


@intrinsic
def row_sum(typingctx: Any, pointer: Any, n: Any) -> Any:
    """Sum of n floats, n a multiple of 16."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer, n = args
        total = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * N_LANES))
        with cgutils.for_range(builder, builder.sdiv(n, _constant(N_LANES))) as loop:
            here = builder.gep(pointer, [builder.mul(loop.index, _constant(N_LANES))])
            builder.store(builder.fadd(builder.load(total), _load(builder, here)), total)
        return _pairwise(builder, builder.load(total))

    return types.float32(POINTER, types.intp), codegen


@intrinsic
def sum_of_squares(typingctx: Any, pointer: Any, n: Any) -> Any:
    """Sum of the squares of n floats, in double precision."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer, n = args
        total = cgutils.alloca_once_value(builder, ir.Constant(DOUBLES, [0.0] * N_LANES))
        whole = builder.sdiv(n, _constant(N_LANES))
        with cgutils.for_range(builder, whole) as loop:
            here = builder.gep(pointer, [builder.mul(loop.index, _constant(N_LANES))])
            wide = builder.fpext(_load(builder, here), DOUBLES)
            builder.store(_fma(builder, wide, wide, builder.load(total)), total)
        result = cgutils.alloca_once_value(builder, _pairwise(builder, builder.load(total)))
        done = builder.mul(whole, _constant(N_LANES))
        with cgutils.for_range(builder, builder.sub(n, done)) as loop:
            element = builder.load(builder.gep(pointer, [builder.add(done, loop.index)]))
            wide = builder.fpext(element, DOUBLE)
            builder.store(builder.fadd(builder.fmul(wide, wide), builder.load(result)), result)
        return builder.load(result)

    return types.float64(POINTER, types.intp), codegen


def make_tile(rows: int, start: Start, finish: Finish) -> Callable[..., Any]:
    """Return the intrinsic of one tile of Y (+)= A X, `rows` x COLUMNS.

    Its arguments are a, a_row, a_k (A_rk = a[r a_row + k a_k]), x, x_row (X_kj = x[k x_row + j]), y, y_row, the number
    of terms, and `extra`. The chain starts from zero, from the bias extra[r], or from the tile that stands in y; it is
    stored as it is, or as its positive part, or as zero where the tile at `extra` (rows as y's) is not positive.
    """

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_k: Any, x: Any, x_row: Any, y: Any, y_row: Any, terms: Any, extra: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            a, a_row, a_k, x, x_row, y, y_row, terms, extra = args
            cells = [(row, column) for row in range(rows) for column in range(VECTORS)]
            sums = {cell: cgutils.alloca_once(builder, VECTOR) for cell in cells}
            place = {
                (row, column): builder.add(builder.mul(y_row, _constant(row)), _constant(N_LANES * column))
                for row, column in cells
            }
            zero = ir.Constant(VECTOR, [0.0] * N_LANES)
            for cell in cells:
                first = zero
                if start == "bias":
                    first = _splat(builder, builder.load(builder.gep(extra, [_constant(cell[0])])))
                elif start == "load":
                    first = _load(builder, builder.gep(y, [place[cell]]))
                builder.store(first, sums[cell])
            a_rows = [builder.mul(a_row, _constant(row)) for row in range(rows)]
            with cgutils.for_range(builder, terms) as loop:
                a_here = builder.mul(loop.index, a_k)
                x_here = builder.mul(loop.index, x_row)
                right = [
                    _load(builder, builder.gep(x, [builder.add(x_here, _constant(N_LANES * column))]))
                    for column in range(VECTORS)
                ]
                for row in range(rows):
                    left = _splat(builder, builder.load(builder.gep(a, [builder.add(a_here, a_rows[row])])))
                    for column in range(VECTORS):
                        held = sums[row, column]
                        builder.store(_fma(builder, left, right[column], builder.load(held)), held)
            for cell in cells:
                value = builder.load(sums[cell])
                if finish == "relu":
                    # an ordered comparison is false for a NaN, so that a NaN goes on
                    value = builder.select(builder.fcmp_ordered("<=", value, zero), zero, value)
                elif finish == "mask":
                    active = _load(builder, builder.gep(extra, [place[cell]]))
                    value = builder.select(builder.fcmp_ordered("<=", active, zero), zero, value)
                _store(builder, value, builder.gep(y, [place[cell]]))
            return context.get_dummy_value()

        whole, real = types.intp, POINTER
        return types.void(real, whole, whole, real, whole, real, whole, whole, real), codegen

    return tile
