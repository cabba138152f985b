"""Natural evolution strategies on an ellipsoid of condition 10^6, along the axes and rotated, beside evosax's.

    python -m experiments.benchmarks.rotated_ellipsoid          needs the extra `bench`

d = 10, 30 points and 1500 generations, sigma_0 = 1, the same 16 starts from N(0, I) and the same rotation for both
sides, float64. evosax 0.3.2 multiplies the entries of B by exponentials of the entries of the gradient where xNES has
the exponential of a matrix, so B = I stays diagonal and rotated problems are not solved.
"""

import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from envs.random import Purpose, streams
from zeroth_order import SNES, XNES, Optimizer, Values

DIM, POPSIZE, GENERATIONS, RUNS = 10, 30, 1500, 16
WEIGHTS = 10 ** (6 * torch.arange(DIM, dtype=torch.float64) / (DIM - 1))


def ours(algorithm: Optimizer, starts: Tensor, Q: Tensor) -> Tensor:
    """f of the last recommendation, [R]."""
    root = streams(range(RUNS))
    state = algorithm.init(starts, root.fold(Purpose.INITIAL))
    for t in range(GENERATIONS):
        points, state = algorithm.ask(state, root.fold(Purpose.ASK).at(t))
        state, _ = algorithm.tell(state, points, Values((WEIGHTS * (points @ Q.T).square()).sum(-1)))
    return (WEIGHTS * (algorithm.recommend(state) @ Q.T).square()).sum(-1)


def evosax(name: str, starts: Tensor, Q: Tensor) -> Tensor:
    """f of the last mean, [R], of an algorithm of evosax in its default settings."""
    os.environ["JAX_ENABLE_X64"] = "1"
    import evosax.algorithms
    import jax

    strategy = getattr(evosax.algorithms, name)(population_size=POPSIZE, solution=jax.numpy.zeros(DIM))
    params, weights, turn = strategy.default_params, jax.numpy.asarray(WEIGHTS.numpy()), jax.numpy.asarray(Q.T.numpy())

    def f(points: jax.Array) -> jax.Array:
        return (weights * (points @ turn) ** 2).sum(-1)

    def run(key: jax.Array, start: jax.Array) -> jax.Array:
        def generation(state: object, key: jax.Array) -> tuple[object, None]:
            asking, telling = jax.random.split(key)
            points, state = strategy.ask(asking, state, params)
            return strategy.tell(telling, points, f(points), state, params)[0], None

        keys = jax.random.split(key, GENERATIONS)
        return f(jax.lax.scan(generation, strategy.init(key, start, params), keys)[0].mean)

    keys = jax.random.split(jax.random.key(0), RUNS)
    return torch.as_tensor(np.array(jax.vmap(run)(keys, jax.numpy.asarray(starts.numpy()))))


def main() -> None:
    """Print the table."""
    starts = streams(range(RUNS)).fold(Purpose.INSTANCE).normal(DIM, dtype=torch.float64)
    normals = streams([RUNS]).spread(torch.arange(DIM)).normal(DIM, dtype=torch.float64)[0]
    rows: dict[str, Callable[[Tensor], Tensor]] = {
        "zopg xNES": lambda Q: ours(XNES(popsize=POPSIZE), starts, Q),
        "evosax xNES": lambda Q: evosax("xNES", starts, Q),
        "zopg SNES": lambda Q: ours(SNES(popsize=POPSIZE), starts, Q),
        "evosax SNES": lambda Q: evosax("SNES", starts, Q),
    }
    for axes, Q in (("rotated", torch.linalg.qr(normals).Q), ("axes", torch.eye(DIM, dtype=torch.float64))):
        for name, reached in rows.items():
            values = reached(Q)
            print(f"{axes:>8} {name:>12}: median {values.median():.1e}, from {values.min():.1e} to {values.max():.1e}")


if __name__ == "__main__":
    main()
