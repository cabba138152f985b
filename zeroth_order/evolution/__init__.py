"""Evolution strategies: search distributions that are moved and shaped by their samples. One algorithm a file."""

from zeroth_order.evolution.pgpe import PGPE
from zeroth_order.evolution.pycma import PyCMA

__all__ = ["PGPE", "PyCMA"]
