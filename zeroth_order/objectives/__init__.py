"""Functions to minimise, one family a file."""

from zeroth_order.objectives.grand_canyon import GrandCanyon
from zeroth_order.objectives.synthetic import (
    SYNTHETIC,
    Ackley,
    Griewank,
    Levy,
    Rastrigin,
    Rosenbrock,
    Sphere,
    Synthetic,
)

__all__ = [
    "SYNTHETIC",
    "Ackley",
    "GrandCanyon",
    "Griewank",
    "Levy",
    "Rastrigin",
    "Rosenbrock",
    "Sphere",
    "Synthetic",
]
