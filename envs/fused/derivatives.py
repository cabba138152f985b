"""A tanh network and its head with derivatives by the parameters, a step of an episode in each lane.

Activations h, adjoints rho, and their derivatives rh and delta along a direction u (Pearlmutter's R-operator, 1994) lie
in flat scratch: a row of LANES for each unit, layer after layer from the observations to the outputs, which is a block.
Several blocks are worked on together: one hides the latencies of another, and sums over lanes are taken once.
"""

import math
from typing import Any

from envs.fused.choices import softmax
from envs.fused.functions import tanh
from envs.fused.lanes import LANES, Value, compiled, everywhere, fma, load, load_same, store, where
from envs.fused.shuffles import four_halved_sums, halved_sum


@compiled
def weights_before(sizes: Any, bias: bool, layer: int) -> int:
    """Where a layer's weights [out, in] begin in the flat vector; its biases follow."""
    at = 0
    for i in range(layer):
        at += sizes[i + 1] * (sizes[i] + (1 if bias else 0))
    return at


@compiled
def _begin(vector: Any, at: int, bias: bool, n: int, y: Any, to: int) -> None:
    """Rows y are biases, or 0."""
    for o in range(n):
        store(y, to + o * LANES, load_same(vector, at + o) if bias else everywhere(vector.dtype.type(0)))


@compiled
def _add_products(
    vector: Any, at: int, step_out: int, step_in: int, n_out: int, n_in: int, x: Any, start: int, y: Any, to: int
) -> None:
    """Rows y += W x with W[o, i] = vector[at + o step_out + i step_in], four rows at a time."""
    whole = n_out - n_out % 4
    for o in range(0, whole, 4):
        row, w = to + o * LANES, at + o * step_out
        a, b, c, d = load(y, row), load(y, row + LANES), load(y, row + 2 * LANES), load(y, row + 3 * LANES)
        for i in range(start, start + n_in * LANES, LANES):
            value = load(x, i)
            a, b = fma(value, load_same(vector, w), a), fma(value, load_same(vector, w + step_out), b)
            v = w + 2 * step_out
            c, d = fma(value, load_same(vector, v), c), fma(value, load_same(vector, v + step_out), d)
            w += step_in
        store(y, row, a)
        store(y, row + LANES, b)
        store(y, row + 2 * LANES, c)
        store(y, row + 3 * LANES, d)
    for o in range(whole, n_out):
        row, w = to + o * LANES, at + o * step_out
        a = load(y, row)
        for i in range(start, start + n_in * LANES, LANES):
            a = fma(load(x, i), load_same(vector, w), a)
            w += step_in
        store(y, row, a)


@compiled
def forward(
    params: Any, u: Any, at: int, second: bool, sizes: Any, bias: bool, h: Any, rh: Any, size: int, blocks: int
) -> int:
    """Activations of every layer from the observations; and, if `second`, rh along u.

    Observations begin at entry 0 of each of `blocks` of `size` entries, parameters and direction at entry `at`. Returns
    where the outputs begin. Blocks are the inner loop, because none of them has to wait for another.
    """
    x, layers = 0, sizes.size - 1
    for layer in range(layers):
        n_in, n_out, hidden = sizes[layer], sizes[layer + 1], layer < layers - 1
        biases, y = at + n_in * n_out, x + n_in * LANES
        for k in range(0, blocks * size, size):
            _begin(params, biases, bias, n_out, h, y + k)
            _add_products(params, at, n_in, 1, n_out, n_in, h, x + k, h, y + k)
        if hidden:
            for k in range(0, blocks * size, size):
                for i in range(y + k, y + k + n_out * LANES, LANES):
                    store(h, i, tanh(load(h, i)))
        if second:
            for k in range(0, blocks * size, size):
                _begin(u, biases, bias, n_out, rh, y + k)
                _add_products(u, at, n_in, 1, n_out, n_in, h, x + k, rh, y + k)
                if layer > 0:
                    _add_products(params, at, n_in, 1, n_out, n_in, rh, x + k, rh, y + k)
                if hidden:
                    for i in range(y + k, y + k + n_out * LANES, LANES):
                        z = load(h, i)
                        store(rh, i, load(rh, i) * (1.0 - z * z))
        at, x = biases + (n_out if bias else 0), y
    return x


@compiled
def categorical(
    h: Any, rh: Any, second: bool, at: int, n: int, action: Value, w: Value, a: Value, rho: Any, delta: Any
) -> Value:
    """Adjoints of n logits, w g in rho and, if `second`, a g in delta and a rg added to rho; <g, rh>.

    g is the derivative of log pi at `action` by the logits, which begin at entry `at`, and rg its own along u.
    """
    slope, mean = 0.0 * w, 0.0 * w
    _, total = softmax(h, at, n, rho)
    scale = 1.0 / total
    if second:
        for i in range(at, at + n * LANES, LANES):
            mean = fma(load(rho, i) * scale, load(rh, i), mean)
    for k in range(n):
        i = at + k * LANES
        p = load(rho, i) * scale
        g = where(action == float(k), 1.0 - p, -p)
        back = w * g
        if second:
            along = load(rh, i)
            slope = fma(g, along, slope)
            back = fma(a * p, mean - along, back)
            store(delta, i, a * g)
        store(rho, i, back)
    return slope


@compiled
def gaussian(
    h: Any, rh: Any, second: bool, at: int, n: int, params: Any, u: Any, free: int, actions: Any, first: int,
    w: Value, a: Value, rho: Any, delta: Any,
) -> Value:  # fmt: skip
    """The same of n means and, in the rows of rho after them, of the log standard deviations at entry `free`.

    The actions are rows from entry `first` on.
    """
    slope = 0.0 * w
    for k in range(n):
        i, precision = at + k * LANES, math.exp(-2.0 * params[free + k])
        error = load(actions, first + k * LANES) - load(h, i)
        g = error * precision
        g_std = fma(error, g, -1.0)
        back, back_std = w * g, w * g_std
        if second:
            along, along_std = load(rh, i), u[free + k]
            slope = fma(g, along, fma(g_std, along_std, slope))
            shift = fma(error, along_std, along)
            back = back - a * (shift + error * along_std) * precision
            back_std = back_std - 2.0 * a * g * shift
            store(delta, i, a * g)
        store(rho, i, back)
        store(rho, i + n * LANES, back_std)
    return slope


@compiled
def backward(
    params: Any, u: Any, at: int, second: bool, sizes: Any, bias: bool, h: Any, rh: Any, rho: Any, delta: Any,
    size: int, blocks: int,
) -> None:  # fmt: skip
    """Adjoints of the hidden layers from those of the outputs; see `forward`."""
    y = (sizes.sum() - sizes[-1]) * LANES
    for layer in range(sizes.size - 2, 0, -1):
        n_in, n_out, x = sizes[layer], sizes[layer + 1], y - sizes[layer] * LANES
        weights = at + weights_before(sizes, bias, layer)
        for k in range(0, blocks * size, size):
            _begin(rho, 0, False, n_in, rho, x + k)
            _add_products(params, weights, 1, n_in, n_in, n_out, rho, y + k, rho, x + k)
            if second:
                _begin(rho, 0, False, n_in, delta, x + k)
                _add_products(u, weights, 1, n_in, n_in, n_out, delta, y + k, rho, x + k)
                _add_products(params, weights, 1, n_in, n_in, n_out, delta, y + k, delta, x + k)
            for i in range(x + k, y + k, LANES):
                z, back = load(h, i), load(rho, i)
                slope = 1.0 - z * z
                back = slope * back
                if second:
                    back_delta = load(delta, i)
                    back = back - 2.0 * z * load(rh, i) * back_delta
                    store(delta, i, slope * back_delta)
                store(rho, i, back)
        y = x


@compiled
def add_gradients(
    total: Any, second: bool, sizes: Any, bias: bool, extra: int, h: Any, rh: Any, rho: Any, delta: Any,
    size: int, blocks: int,
) -> None:  # fmt: skip
    """Add to `total` [d] what all lanes of all blocks contribute; see `forward`.

    Adjoints of `extra` free parameters of the head follow those of the outputs.
    """
    at, x, layers = 0, 0, sizes.size - 1
    for layer in range(layers):
        n_in, n_out, y = sizes[layer], sizes[layer + 1], x + sizes[layer] * LANES
        _add_outer_products(total, at, n_out, n_in, second and layer > 0, h, rh, x, rho, delta, y, size, blocks)
        at += n_in * n_out
        rows = (n_out if bias else 0) + (extra if layer == layers - 1 else 0)
        first = y if bias else y + n_out * LANES
        for o in range(rows):
            a = load(rho, first + o * LANES)
            for k in range(size, blocks * size, size):
                a = a + load(rho, first + o * LANES + k)
            total[at + o] += halved_sum(a)
        at, x = at + (n_out if bias else 0), y


@compiled
def _add_outer_products(
    total: Any, at: int, n_out: int, n_in: int, second: bool, h: Any, rh: Any, x: int, rho: Any, delta: Any, y: int,
    size: int, blocks: int,
) -> None:  # fmt: skip
    """Of two units and two of their inputs at a time, some of which are meaningless after the last one."""
    zero = everywhere(h.dtype.type(0))
    for o in range(0, n_out, 2):
        for i in range(0, n_in, 2):
            a, b, c, d = zero, zero, zero, zero
            j, m = x + i * LANES, y + o * LANES
            for k in range(0, blocks * size, size):
                first, following = load(h, j + k), load(h, j + k + LANES)
                one, two = load(rho, m + k), load(rho, m + k + LANES)
                a, b, c, d = fma(one, first, a), fma(one, following, b), fma(two, first, c), fma(two, following, d)
            if second:
                for k in range(0, blocks * size, size):
                    first, following = load(rh, j + k), load(rh, j + k + LANES)
                    one, two = load(delta, m + k), load(delta, m + k + LANES)
                    a, b, c, d = fma(one, first, a), fma(one, following, b), fma(two, first, c), fma(two, following, d)
            p, q, r, s = four_halved_sums(a, b, c, d)
            w, two_in = at + o * n_in + i, i + 1 < n_in
            total[w] += p
            if two_in:
                total[w + 1] += q
            if o + 1 < n_out:
                total[w + n_in] += r
                if two_in:
                    total[w + n_in + 1] += s
