"""Descent along gradients that are estimated from values in random directions. One algorithm a file."""

from zeroth_order.random_directions.differences import Central, Difference, Forward, majority_vote, mean_gradient
from zeroth_order.random_directions.directions import (
    Coordinates,
    Directions,
    Gaussian,
    Orthonormal,
    Rademacher,
    UnitSphere,
)
from zeroth_order.random_directions.r_adazo import RAdaZO
from zeroth_order.random_directions.random_gradient import RandomGradient
from zeroth_order.random_directions.spsa import SPSA, Gain
from zeroth_order.random_directions.zo_signsgd import ZOSignSGD
from zeroth_order.random_directions.zoar import ZoAR

__all__ = [
    "SPSA",
    "Central",
    "Coordinates",
    "Difference",
    "Directions",
    "Forward",
    "Gain",
    "Gaussian",
    "Orthonormal",
    "RAdaZO",
    "Rademacher",
    "RandomGradient",
    "UnitSphere",
    "ZOSignSGD",
    "ZoAR",
    "majority_vote",
    "mean_gradient",
]
