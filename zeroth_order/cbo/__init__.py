"""Consensus-based optimization: particles that drift to a weighted mean of their own. One algorithm a file."""

from zeroth_order.cbo.adam import AdamCBO
from zeroth_order.cbo.cbo import CBO, CBOState
from zeroth_order.cbo.cbs import CBS
from zeroth_order.cbo.consensus import consensus_point, effective_samples, softmin
from zeroth_order.cbo.constraints import DriftConstraint, Penalty, Plane, SphereSurface, Unconstrained
from zeroth_order.cbo.correction import Heaviside, NoCorrection, SmoothHeaviside
from zeroth_order.cbo.delta import ConsensusFreezing, DeltaCBO
from zeroth_order.cbo.hopping import ConsensusHopping
from zeroth_order.cbo.memory import NoMemory, PersonalBest
from zeroth_order.cbo.mirror import MirrorCBO
from zeroth_order.cbo.mirror_maps import Ball, BarrierBox, Box, ElasticNet, Simplex, SphereShell
from zeroth_order.cbo.noise import (
    Anisotropic,
    Constant,
    Euler,
    Exact,
    Isotropic,
    Noise,
    TruncatedAnisotropic,
    TruncatedIsotropic,
)
from zeroth_order.cbo.polarized import Gaussian, Laplace, PolarizedCBO, polarized_consensus
from zeroth_order.cbo.schedules import EffectiveSamples, Growth, LogCooling, StepCooling

__all__ = [
    "CBO",
    "CBS",
    "AdamCBO",
    "Anisotropic",
    "Ball",
    "BarrierBox",
    "Box",
    "CBOState",
    "ConsensusFreezing",
    "ConsensusHopping",
    "Constant",
    "DeltaCBO",
    "DriftConstraint",
    "EffectiveSamples",
    "ElasticNet",
    "Euler",
    "Exact",
    "Gaussian",
    "Growth",
    "Heaviside",
    "Isotropic",
    "Laplace",
    "LogCooling",
    "MirrorCBO",
    "NoCorrection",
    "NoMemory",
    "Noise",
    "Penalty",
    "PersonalBest",
    "Plane",
    "PolarizedCBO",
    "Simplex",
    "SmoothHeaviside",
    "SphereShell",
    "SphereSurface",
    "StepCooling",
    "TruncatedAnisotropic",
    "TruncatedIsotropic",
    "Unconstrained",
    "consensus_point",
    "effective_samples",
    "polarized_consensus",
    "softmin",
]
