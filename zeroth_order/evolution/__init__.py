"""Evolution strategies: search distributions that are moved and shaped by their samples. One algorithm a file."""

from zeroth_order.evolution.ars import ARS
from zeroth_order.evolution.cma_es import CMAES, SepCMAES
from zeroth_order.evolution.covariance import Cholesky, Diagonal, SymmetricRoot
from zeroth_order.evolution.openai_es import OpenAIES
from zeroth_order.evolution.pgpe import PGPE
from zeroth_order.evolution.pycma import PyCMA
from zeroth_order.evolution.restarts import BIPOP, IPOP, NoRestarts
from zeroth_order.evolution.snes import SNES
from zeroth_order.evolution.xnes import XNES

__all__ = [
    "ARS",
    "BIPOP",
    "CMAES",
    "IPOP",
    "PGPE",
    "SNES",
    "XNES",
    "Cholesky",
    "Diagonal",
    "NoRestarts",
    "OpenAIES",
    "PyCMA",
    "SepCMAES",
    "SymmetricRoot",
]
