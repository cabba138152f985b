"""How many points an evolution strategy asks for."""

import math


def default_popsize(dim: int) -> int:
    """4 + floor(3 ln d), as in CMA-ES (Hansen 2016) and the natural evolution strategies (Wierstra et al. 2014)."""
    return 4 + int(3 * math.log(dim))
