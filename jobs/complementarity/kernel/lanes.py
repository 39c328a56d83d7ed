"""Eight doubles in one vector register: a numba type whose arithmetic compiles to vector instructions.

The model works on eight octants at a time. `Lanes` is LLVM's `<8 x double>`; every operation is elementwise IEEE
arithmetic in the order in which it is written, without contraction or reassociation, so the bits do not depend
on the width of the machine's registers. `exp` is written here too (Cody and Waite's reduction, then the Taylor
polynomial), because the C library's result differs in the last bit between versions and processors.

    address_of(a)                  pointer to the elements of an array
    load8(p, i), store8(p, i, v)   v = p[i .. i+7]
    splat8(x)                      all lanes equal to x
    v + w, v - w, v * w, v / w
    minimum8, maximum8             of two vectors (no NaN)
    select_le8(a, b, v, w)         v where a <= b, else w
    add_where8(v, k, x)            v, with x added to lane k
    scan8(v)                       running sums v_0, v_0 + v_1, ..., left to right
    tree8(v)                       ((v_0 + v_1) + (v_2 + v_3)) + ((v_4 + v_5) + (v_6 + v_7)), numpy's order
    peak8(v)                       largest lane
    lane8(v, k)                    lane k
    set_lane8(v, k, x)             v with lane k replaced by x
    count_le8(v, x)                number of lanes that are at most x
    first_equal8(v, x)             number of the first lane that equals x, 8 if there is none
    exp8(v), exp1(x)               e to the power of each lane; of one double
    sort8(v, w, ...)               eight vectors sorted lane by lane
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

N_LANES = 8
DOUBLE = ir.DoubleType()
INT64 = ir.IntType(64)
INT32 = ir.IntType(32)
VECTOR = ir.VectorType(DOUBLE, N_LANES)
INT_VECTOR = ir.VectorType(INT64, N_LANES)


class LanesType(types.Type):
    """The numba type of eight doubles."""

    def __init__(self) -> None:
        """There is one such type; it has no parameters."""
        super().__init__(name="Lanes")


lanes_type = LanesType()


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    """How eight doubles are held: as one LLVM vector."""

    def __init__(self, dmm: Any, fe_type: Any) -> None:
        """Use the vector as value, argument and return type alike."""
        super().__init__(dmm, fe_type, VECTOR)


def _splat(builder: ir.IRBuilder, value: ir.Value, vector: ir.VectorType) -> ir.Value:
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(INT32, 0))
    mask = ir.Constant(ir.VectorType(INT32, N_LANES), [0] * N_LANES)
    return builder.shuffle_vector(first, first, mask)


def _lane(builder: ir.IRBuilder, vector: ir.Value, k: int) -> ir.Value:
    return builder.extract_element(vector, ir.Constant(INT32, k))


def _shuffle(builder: ir.IRBuilder, vector: ir.Value, order: Sequence[int]) -> ir.Value:
    mask = ir.Constant(ir.VectorType(INT32, len(order)), list(order))
    return builder.shuffle_vector(vector, vector, mask)


def _register_arithmetic(operation: Callable[..., Any], instruction: str) -> None:
    @infer_global(operation)
    class LanesArithmetic(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if args == (lanes_type, lanes_type):
                return signature(lanes_type, lanes_type, lanes_type)
            return None

    @lower_builtin(operation, lanes_type, lanes_type)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _register_arithmetic(_operation, _instruction)


def _address(builder: Any, pointer: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [index]), VECTOR.as_pointer())


@intrinsic
def address_of(typingctx: Any, array: Any) -> Any:
    """Pointer to the first element of a contiguous array.

    Indexing a pointer costs neither a reference count nor a test for negative indices. Who takes it keeps the
    array alive.
    """
    if not (isinstance(array, types.Array) and array.layout == "C"):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def load8(typingctx: Any, pointer: Any, index: Any) -> Any:
    """Lanes of the elements index .. index + 7."""
    if pointer != types.CPointer(types.float64):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        loaded = builder.load(_address(builder, *args))
        loaded.align = 8
        return loaded

    return lanes_type(pointer, types.intp), codegen


@intrinsic
def store8(typingctx: Any, pointer: Any, index: Any, vector: Any) -> Any:
    """Write the lanes to the elements index .. index + 7."""
    if pointer != types.CPointer(types.float64):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _address(builder, args[0], args[1]), align=8)
        return context.get_dummy_value()

    return types.void(pointer, types.intp, lanes_type), codegen


@intrinsic
def splat8(typingctx: Any, value: Any) -> Any:
    """All lanes equal to `value`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0], VECTOR)

    return lanes_type(types.float64), codegen


def _select_by(builder: Any, comparison: str, a: Any, b: Any, then: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(comparison, a, b), then, other)


@intrinsic
def minimum8(typingctx: Any, a: Any, b: Any) -> Any:
    """Elementwise minimum."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _select_by(builder, "<", args[0], args[1], args[0], args[1])

    return lanes_type(lanes_type, lanes_type), codegen


@intrinsic
def maximum8(typingctx: Any, a: Any, b: Any) -> Any:
    """Elementwise maximum."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _select_by(builder, ">", args[0], args[1], args[0], args[1])

    return lanes_type(lanes_type, lanes_type), codegen


@intrinsic
def select_le8(typingctx: Any, a: Any, b: Any, then: Any, other: Any) -> Any:
    """`then` in the lanes where a <= b, `other` elsewhere."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _select_by(builder, "<=", *args)

    return lanes_type(lanes_type, lanes_type, lanes_type, lanes_type), codegen


@intrinsic
def add_where8(typingctx: Any, vector: Any, k: Any, value: Any) -> Any:
    """`vector` with `value` added to lane `k`, the other lanes untouched."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        numbers = ir.Constant(INT_VECTOR, list(range(N_LANES)))
        here = builder.icmp_signed("==", _splat(builder, args[1], INT_VECTOR), numbers)
        return builder.select(here, builder.fadd(args[0], _splat(builder, args[2], VECTOR)), args[0])

    return lanes_type(lanes_type, types.int64, types.float64), codegen


@intrinsic
def scan8(typingctx: Any, vector: Any) -> Any:
    """Running sums of the lanes, left to right."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        running = _lane(builder, args[0], 0)
        sums = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), running, ir.Constant(INT32, 0))
        for k in range(1, N_LANES):
            running = builder.fadd(running, _lane(builder, args[0], k))
            sums = builder.insert_element(sums, running, ir.Constant(INT32, k))
        return sums

    return lanes_type(lanes_type), codegen


def _fold_neighbours(builder: Any, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
    size = N_LANES
    while size > 1:
        even = _shuffle(builder, vector, range(0, size, 2))
        odd = _shuffle(builder, vector, range(1, size, 2))
        vector = combine(even, odd)
        size //= 2
    return _lane(builder, vector, 0)


@intrinsic
def tree8(typingctx: Any, vector: Any) -> Any:
    """Sum of the lanes in numpy's order for eight running sums."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold_neighbours(builder, args[0], builder.fadd)

    return types.float64(lanes_type), codegen


@intrinsic
def peak8(typingctx: Any, vector: Any) -> Any:
    """Largest lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold_neighbours(builder, args[0], lambda a, b: _select_by(builder, ">", a, b, a, b))

    return types.float64(lanes_type), codegen


@intrinsic
def lane8(typingctx: Any, vector: Any, k: Any) -> Any:
    """Lane `k`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], builder.trunc(args[1], INT32))

    return types.float64(lanes_type, types.int64), codegen


@intrinsic
def set_lane8(typingctx: Any, vector: Any, k: Any, value: Any) -> Any:
    """`vector` with lane `k` replaced by `value`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        numbers = ir.Constant(INT_VECTOR, list(range(N_LANES)))
        here = builder.icmp_signed("==", _splat(builder, args[1], INT_VECTOR), numbers)
        return builder.select(here, _splat(builder, args[2], VECTOR), args[0])

    return lanes_type(lanes_type, types.int64, types.float64), codegen


def _bits_where(builder: Any, comparison: str, vector: Any, bound: Any) -> Any:
    where = builder.fcmp_ordered(comparison, vector, _splat(builder, bound, VECTOR))
    return builder.zext(builder.bitcast(where, ir.IntType(N_LANES)), INT64)


@intrinsic
def first_equal8(typingctx: Any, vector: Any, value: Any) -> Any:
    """Number of the first lane that equals `value`, 8 if none does."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.or_(_bits_where(builder, "==", *args), ir.Constant(INT64, 1 << N_LANES))
        return builder.cttz(bits, ir.Constant(ir.IntType(1), 1))

    return types.int64(lanes_type, types.float64), codegen


@intrinsic
def count_le8(typingctx: Any, vector: Any, bound: Any) -> Any:
    """Number of lanes that are at most `bound`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ctpop(_bits_where(builder, "<=", *args))

    return types.int64(lanes_type, types.float64), codegen


# exp(x) = 2^k exp(r) with k the integer nearest to x / ln 2 and |r| <= ln(2)/2. LN2_HIGH has 42 significant bits,
# so that k * LN2_HIGH is exact; thirteen terms of the series leave a relative error below 1e-17 before rounding.
LN2_HIGH = float.fromhex("0x1.62e42fefa3800p-1")
LN2_LOW = float.fromhex("0x1.ef35793c76730p-45")
ROUNDER = 1.5 * 2.0**52
ROUNDER_BITS = int(struct.unpack("<q", struct.pack("<d", ROUNDER))[0])
SERIES = tuple(1.0 / math.factorial(n) for n in range(2, 14))
LARGEST_EXPONENT = 709.782712893384
SMALLEST_EXPONENT = -745.2


def _exponential(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    add, sub, mul = builder.fadd, builder.fsub, builder.fmul
    is_vector = isinstance(x.type, ir.VectorType)

    def real(value: float) -> ir.Constant:
        return ir.Constant(x.type, [value] * N_LANES if is_vector else value)

    def whole(value: int) -> ir.Constant:
        return ir.Constant(INT_VECTOR if is_vector else INT64, [value] * N_LANES if is_vector else value)

    def power_of_two(exponent: ir.Value) -> ir.Value:
        return builder.bitcast(builder.shl(builder.add(exponent, whole(1023)), whole(52)), x.type)

    low, high = real(SMALLEST_EXPONENT), real(LARGEST_EXPONENT)
    inside = _select_by(builder, ">", x, low, x, low)
    inside = _select_by(builder, "<", inside, high, inside, high)

    shifted = add(mul(inside, real(1.0 / math.log(2.0))), real(ROUNDER))
    k = sub(shifted, real(ROUNDER))
    head = sub(inside, mul(k, real(LN2_HIGH)))
    tail = mul(k, real(LN2_LOW))
    r = sub(head, tail)
    lost = sub(sub(head, r), tail)

    square = mul(r, r)
    fourth = mul(square, square)
    pairs = [add(real(SERIES[i]), mul(r, real(SERIES[i + 1]))) for i in range(0, 12, 2)]
    quads = [add(pairs[i], mul(square, pairs[i + 1])) for i in range(0, 6, 2)]
    series = add(quads[0], mul(fourth, add(quads[1], mul(fourth, quads[2]))))
    fraction = add(real(1.0), add(r, add(lost, mul(square, series))))

    # Two factors of about 2^(k/2), because 2^k itself may be subnormal.
    exponent = builder.sub(builder.bitcast(shifted, whole(0).type), whole(ROUNDER_BITS))
    half = builder.ashr(exponent, whole(1))
    result = mul(mul(fraction, power_of_two(half)), power_of_two(builder.sub(exponent, half)))

    result = _select_by(builder, "<", x, low, real(0.0), result)
    return _select_by(builder, ">", x, high, real(math.inf), result)


@intrinsic
def exp8(typingctx: Any, vector: Any) -> Any:
    """Exponential of every lane, within one unit in the last place; subnormals, zero and infinity included."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _exponential(builder, args[0])

    return lanes_type(lanes_type), codegen


@intrinsic
def exp1(typingctx: Any, value: Any) -> Any:
    """Exponential of one double: the bits that `exp8` gives in a lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _exponential(builder, args[0])

    return types.float64(types.float64), codegen


# The optimal sorting network for eight inputs: 19 comparisons (Knuth, The Art of Computer Programming 3, 5.3.4).
SORTING_NETWORK = (
    ((0, 2), (1, 3), (4, 6), (5, 7)),
    ((0, 4), (1, 5), (2, 6), (3, 7)),
    ((0, 1), (2, 3), (4, 5), (6, 7)),
    ((2, 4), (3, 5)),
    ((1, 4), (3, 6)),
    ((1, 2), (3, 4), (5, 6)),
)


@intrinsic
def sort8(typingctx: Any, v0: Any, v1: Any, v2: Any, v3: Any, v4: Any, v5: Any, v6: Any, v7: Any) -> Any:
    """Sort eight vectors lane by lane: the k-th result holds each lane's k-th smallest value."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = list(args)
        for layer in SORTING_NETWORK:
            for i, j in layer:
                low = _select_by(builder, "<", vectors[i], vectors[j], vectors[i], vectors[j])
                high = _select_by(builder, ">", vectors[i], vectors[j], vectors[i], vectors[j])
                vectors[i], vectors[j] = low, high
        return cgutils.pack_array(builder, vectors)

    result = types.UniTuple(lanes_type, 8)
    return result(*([lanes_type] * 8)), codegen
