"""Lanes: a numba type of sixteen numbers side by side, one episode or one unit of a network in each.

Loops that LLVM is left to vectorise do not stay vectorised: one int64 among float32, two arrays that might overlap or a
sum are enough. Here the source says what is side by side, and each operation compiles to one instruction per register.
Nothing is reassociated, and contracted only where `fma` says so: a number does not depend on its lane, on the other
lanes or on the kernel it is computed in.

Operators work as in NumPy 2: a Python number takes the type of the lanes that it meets.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_jitable, register_model

LANES = 16
"""Float32 in one register of AVX-512 or two of AVX2, whose operations then overlap."""
FEW = 8
"""Uint64 in one register of AVX-512 or two of AVX2."""

Value: TypeAlias = Any
"""Lanes; mypy does not know numba's types."""
compiled = register_jitable(_nrt=False)
"""Decorator of functions that are compiled into kernels and allocate nothing: without counting who refers to an array,
which takes two atomic operations for each that is handed on."""
Emit: TypeAlias = Callable[[Any, "Lanes", list[Any]], Any]


class Lanes(types.Type):
    """Numbers or truth values of one type."""

    def __init__(self, dtype: Any, count: int = LANES) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Lanes({dtype}, {count})")

    def of(self, dtype: Any) -> "Lanes":
        """As many of another type."""
        return Lanes(dtype, self.count)


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """An LLVM vector."""

    def __init__(self, manager: Any, kind: Lanes) -> None:
        element = ir.IntType(1) if kind.dtype == types.boolean else manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, kind.count))


def _common(*kinds: Any) -> Any:
    """What lanes and scalars are brought to; None where they do not fit."""
    lanes = {kind for kind in kinds if isinstance(kind, Lanes)}
    fit = all(isinstance(kind, (Lanes, types.Number, types.Boolean)) for kind in kinds)
    return lanes.pop() if len(lanes) == 1 and fit else None


def _splat(context: Any, builder: Any, value: Any, kind: Any, to: Lanes) -> Any:
    """A scalar in all lanes, or the lanes that it already is."""
    if isinstance(kind, Lanes):
        return value
    scalar = context.cast(builder, value, kind, to.dtype)
    none = ir.Constant(ir.VectorType(scalar.type, to.count), ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), to.count), [0] * to.count)
    return builder.shuffle_vector(builder.insert_element(none, scalar, ir.IntType(32)(0)), none, everywhere)


def _splat_all(context: Any, builder: Any, values: Any, kinds: Any) -> list[Any]:
    common = _common(*kinds)
    return [_splat(context, builder, value, kind, common) for value, kind in zip(values, kinds, strict=True)]


def _operator(symbol: Any, emit: Emit, arity: int = 2, mask: bool = False) -> None:
    """Give an operator its meaning on lanes."""

    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            common = _common(*args) if len(args) == arity else None
            return common and signature(common.of(types.boolean) if mask else common, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit(builder, _common(*sig.args), _splat_all(context, builder, args, sig.args))

    infer_global(symbol)(Template)
    scalars = [(Lanes, types.Number), (types.Number, Lanes)]
    for kinds in [(Lanes,)] if arity == 1 else [(Lanes, Lanes), *scalars]:
        lower_builtin(symbol, *kinds)(lower)


def _real_or_integer(real: str, integer: str) -> Emit:
    return lambda builder, kind, args: getattr(builder, real if isinstance(kind.dtype, types.Float) else integer)(*args)


def _comparison(sign: str) -> Emit:
    def emit(builder: Any, kind: Lanes, args: list[Any]) -> Any:
        if isinstance(kind.dtype, types.Float):
            return (builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered)(sign, *args)
        return builder.icmp_signed(sign, *args)

    return emit


_operator(operator.add, _real_or_integer("fadd", "add"))
_operator(operator.sub, _real_or_integer("fsub", "sub"))
_operator(operator.mul, _real_or_integer("fmul", "mul"))
_operator(operator.truediv, _real_or_integer("fdiv", "sdiv"))
_operator(operator.neg, _real_or_integer("fneg", "neg"), arity=1)
_operator(operator.and_, lambda builder, kind, args: builder.and_(*args))
_operator(operator.or_, lambda builder, kind, args: builder.or_(*args))
_operator(operator.xor, lambda builder, kind, args: builder.xor(*args))
_operator(operator.lshift, lambda builder, kind, args: builder.shl(*args))
_operator(operator.rshift, lambda builder, kind, args: (builder.ashr if kind.dtype.signed else builder.lshr)(*args))
for _name, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    _operator(getattr(operator, _name), _comparison(_sign), mask=True)


def _call(builder: Any, name: str, kind: Lanes, values: list[Any]) -> Any:
    """An LLVM intrinsic of real numbers."""
    form = ir.FunctionType(values[0].type, [value.type for value in values])
    suffix = f"v{kind.count}f{kind.dtype.bitwidth}"
    return builder.call(builder.module.declare_intrinsic(f"llvm.{name}.{suffix}", (), form), values)


def _unary(name: str) -> Any:
    @intrinsic
    def function(typing: Any, x: Any) -> Any:
        return x(x), lambda context, builder, sig, args: _call(builder, name, x, args)

    return function


floor, ceil, absolute, sqrt = (_unary(name) for name in ("floor", "ceil", "fabs", "sqrt"))


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """X y + z; one rounding and one instruction where the machine has it."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "fmuladd", _common(x, y, z), _splat_all(context, builder, args, sig.args))

    return _common(x, y, z)(x, y, z), lower


@intrinsic
def where(typing: Any, mask: Any, x: Any, y: Any) -> Any:
    """X where the mask is set, else y; one of them may be a number."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(args[0], *_splat_all(context, builder, args[1:], sig.args[1:]))

    return _common(x, y)(mask, x, y), lower


@intrinsic
def everywhere(typing: Any, x: Any) -> Any:
    """A number in all lanes, of its type."""
    kind = Lanes(x)
    return kind(x), lambda context, builder, sig, args: _splat(context, builder, args[0], x, kind)


@intrinsic
def any_of(typing: Any, mask: Any) -> Any:
    """Whether the mask is set anywhere."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(mask.count))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(mask), lower


@intrinsic
def convert(typing: Any, x: Any, to: Any) -> Any:
    """X as lanes of another type: `convert(x, np.int32)`; real numbers are cut to integers towards zero."""
    kind, wider = x.of(to.dtype), to.dtype.bitwidth > x.dtype.bitwidth
    real, to_real = (isinstance(dtype, types.Float) for dtype in (x.dtype, to.dtype))
    if real:
        name = ("fpext" if wider else "fptrunc") if to_real else "fptosi"
    elif to_real:
        name = "sitofp" if x.dtype.signed else "uitofp"
    else:
        name = ("sext" if x.dtype.signed else "zext") if wider else "trunc"

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = context.get_value_type(kind)
        return args[0] if vector == args[0].type else getattr(builder, name)(args[0], vector)

    return kind(x, to), lower


@intrinsic
def reinterpret(typing: Any, x: Any) -> Any:
    """The bits of real numbers as integers of the same size, and back."""
    size = x.dtype.bitwidth
    real, integer = (types.float32, types.int32) if size == 32 else (types.float64, types.int64)
    kind = x.of(integer if isinstance(x.dtype, types.Float) else real)
    return kind(x), lambda context, builder, sig, args: builder.bitcast(args[0], context.get_value_type(kind))


def pointer(context: Any, builder: Any, array: types.Array, args: Any, start: types.Type, count: int) -> Any:
    """Where the lanes lie in memory."""
    data = context.make_array(array)(context, builder, args[0]).data
    at = builder.gep(data, [context.cast(builder, args[1], start, types.intp)], inbounds=True)
    return builder.bitcast(at, ir.VectorType(context.get_data_type(array.dtype), count).as_pointer())


def _load(count: int) -> Any:
    @intrinsic
    def load_lanes(typing: Any, array: Any, start: Any) -> Any:
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            at = pointer(context, builder, array, args, start, count)
            return builder.load(at, align=array.dtype.bitwidth // 8)

        return Lanes(array.dtype, count)(array, start), lower

    return load_lanes


load, load_few = _load(LANES), _load(FEW)
"""(array, start): lanes from a contiguous array of any shape, from its entry `start` in order; nothing is checked."""


@intrinsic
def load_same(typing: Any, array: Any, start: Any) -> Any:
    """The one entry `start` in all lanes; nothing is checked."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one = builder.load(pointer(context, builder, array, args, start, 1), align=array.dtype.bitwidth // 8)
        scalar = builder.extract_element(one, ir.IntType(32)(0))
        return _splat(context, builder, scalar, array.dtype, Lanes(array.dtype))

    return Lanes(array.dtype)(array, start), lower


@intrinsic
def store(typing: Any, array: Any, start: Any, x: Any) -> Any:
    """Write what `load` and `load_few` read; a number into LANES entries."""
    kind = x if isinstance(x, Lanes) else Lanes(array.dtype)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = pointer(context, builder, array, args, start, kind.count)
        builder.store(_splat(context, builder, args[2], x, kind), at, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, start, x), lower


def by_precision(single: tuple[float, ...], double: tuple[float, ...]) -> Any:
    """The polynomial of x with these coefficients, the highest power first, for float32 and for float64."""

    @intrinsic
    def polynomial(typing: Any, x: Any) -> Any:
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            numbers = [context.get_constant(x.dtype, c) for c in (single if x.dtype.bitwidth == 32 else double)]
            terms = [_splat(context, builder, number, x.dtype, x) for number in numbers]
            total = terms[0]
            for term in terms[1:]:
                total = _call(builder, "fmuladd", x, [total, args[0], term])
            return total

        return x(x), lower

    return polynomial


@compiled
def row(rows: Any, k: Any) -> Value:
    """Row k of rows [n, LANES]."""
    return load(rows, k * LANES)


@compiled
def set_row(rows: Any, k: Any, x: Value) -> None:
    """Write what `row` reads."""
    store(rows, k * LANES, x)
