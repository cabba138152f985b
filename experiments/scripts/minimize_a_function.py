"""Minimise a plain Python function with CBO and with CMA-ES."""

import numpy as np

import zeroth_order


def rastrigin(x: np.ndarray) -> float:
    return float(10 * x.size + (x**2 - 10 * np.cos(2 * np.pi * x)).sum())


def main(budget: int = 10_000) -> None:
    for algorithm in (zeroth_order.CBO(spread=2.0), zeroth_order.CMAES(sigma0=2.0)):
        best = zeroth_order.minimize(rastrigin, bounds=(-5.12, 5.12), dim=5, algorithm=algorithm, budget=budget, seed=0)
        print(f"{algorithm.id:>7}: f = {best.fun:.3g} after {best.queries} queries, stopped by {best.stop}")


if __name__ == "__main__":
    main()
