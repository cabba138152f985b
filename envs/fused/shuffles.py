"""What moves numbers from lane to lane: sums over the lanes, and the transposition of a square."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic

from envs.fused.lanes import FEW, pointer


def _shuffle(builder: Any, x: Any, y: Any, order: list[int]) -> Any:
    """The numbers `order` of x followed by y."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def _added(builder: Any, x: Any, y: Any, order: list[int], step: int) -> Any:
    """The numbers `order` of x followed by y, and those `step` later, added."""
    return builder.fadd(_shuffle(builder, x, y, order), _shuffle(builder, x, y, [i + step for i in order]))


@intrinsic
def halved_sum(typing: Any, x: Any) -> Any:
    """The sum of all lanes: the upper half is added to the lower one until one number is left."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        total, count = args[0], x.count
        while count > 1:
            count //= 2
            total = _added(builder, total, total, list(range(count)), count)
        return builder.extract_element(total, ir.IntType(32)(0))

    return x.dtype(x), lower


@intrinsic
def four_halved_sums(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The halved sums of four, in fewer instructions than one by one: their last four numbers are added together."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts, count = args, a.count
        while count > 4:
            count //= 2
            parts = [_added(builder, part, part, list(range(count)), count) for part in parts]
        first, last = (_added(builder, parts[i], parts[i + 1], [0, 1, 4, 5], 2) for i in (0, 2))
        sums = _added(builder, first, last, [0, 2, 4, 6], 1)
        numbers = [builder.extract_element(sums, ir.IntType(32)(i)) for i in range(4)]
        return context.make_tuple(builder, sig.return_type, numbers)

    return UniTuple(a.dtype, 4)(a, b, c, d), lower


@intrinsic
def transpose_few(typing: Any, source: Any, at: Any, stride: Any, target: Any, to: Any, width: Any) -> Any:
    """FEW rows of FEW numbers, `stride` apart in `source` from `at` on, as columns into `target`; nothing is checked.

    By halves, quarters and eighths: each time, the blocks off the diagonal change places.
    """

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def place(array: int, k: int) -> Any:
            start, step = (context.cast(builder, args[array + n], sig.args[array + n], types.intp) for n in (1, 2))
            entry = builder.add(start, builder.mul(step, step.type(k)))
            return pointer(context, builder, sig.args[array], (args[array], entry), types.intp, FEW)

        align = source.dtype.bitwidth // 8
        rows = [builder.load(place(0, k), align=align) for k in range(FEW)]
        block = FEW // 2
        while block:
            upper = [lane if lane & block == 0 else FEW + lane - block for lane in range(FEW)]
            lower_ = [lane + block if lane & block == 0 else FEW + lane for lane in range(FEW)]
            for k in range(FEW):
                if k & block == 0:
                    pair = rows[k], rows[k + block]
                    rows[k], rows[k + block] = (_shuffle(builder, *pair, order) for order in (upper, lower_))
            block //= 2
        for k in range(FEW):
            builder.store(rows[k], place(3, k), align=align)
        return context.get_dummy_value()

    return types.void(source, at, stride, target, to, width), lower
