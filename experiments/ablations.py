"""Ablations: variants of an agent that differ in one part, each with a step size of its own.

`zopg compare --preset ablation-<name>` draws one; `experiments/ablations.md` says what they show. The step sizes were
tuned by `zopg tune --preset ablation-<name> --seeds 12 --budget 40000`, nine powers of two for every variant.
"""

from dataclasses import replace
from typing import NamedTuple

from envs.algorithm import Schedule
from experiments.settings import Setting
from rl import (
    HARPG,
    NHARPG,
    NMPG,
    NPGIGT,
    NSGD,
    PGIGT,
    REINFORCE,
    Estimator,
    LaggedNPGIGT,
    causal,
    official,
    over_steps,
    paper,
    time_baseline,
)


class Ablation(NamedTuple):
    """Variants by label."""

    summary: str
    variants: dict[str, Setting]


_PLAIN = Estimator(episodes=4)
_BASELINE = Estimator(episodes=4, baseline=time_baseline, hvp=causal)
_PER_STEP = replace(_BASELINE, average=over_steps)


def _n_harpg(gamma: float, estimator: Estimator) -> Setting:
    return Setting(NHARPG(gamma=Schedule(gamma, 0.25), eta=Schedule(1.0, 1.0, 0.3)), estimator)


def _n_pg_igt(gamma: float, floor: float, exponent: float = 0.0) -> Setting:
    return Setting(NPGIGT(gamma=Schedule(gamma, exponent), eta=Schedule(1.0, 0.8, floor)), _BASELINE)


def _lagged(gamma: float, floor: float) -> Setting:
    return Setting(LaggedNPGIGT(gamma=Schedule(gamma), eta=Schedule(1.0, 0.8, floor)), _BASELINE)


def _n_mpg(gamma: float, floor: float) -> Setting:
    return Setting(NMPG(gamma=Schedule(gamma), eta=Schedule(1.0, 0.8, floor)), _BASELINE)


ABLATIONS: dict[str, Ablation] = {
    "hvp": Ablation(
        "N-HARPG with the paper's, the causal and the published code's Hessian-vector products",
        {
            "paper": _n_harpg(0.1, replace(_PLAIN, hvp=paper)),
            "causal": _n_harpg(0.1, replace(_PLAIN, hvp=causal)),
            "paper, baseline": _n_harpg(0.1, replace(_BASELINE, hvp=paper)),
            "causal, baseline": _n_harpg(0.1, _BASELINE),
            "published code's, baseline": _n_harpg(0.2, replace(_BASELINE, hvp=official)),
        },
    ),
    "lag": Ablation(
        "N-PG-IGT with the paper's eta in its extrapolation, and with the published code's, one iteration late",
        {
            "correct": _n_pg_igt(0.05, 0.0),
            "lagged": _lagged(0.1, 0.0),
            "correct, eta >= 0.5": _n_pg_igt(0.2, 0.5),
            "lagged, eta >= 0.5": _lagged(0.2, 0.5),
        },
    ),
    "average": Ablation(
        "averages over trajectories, as in the paper, and over time steps, as in the published code",
        {
            "n-pg-igt, trajectories": _n_pg_igt(0.2, 0.5),
            "n-pg-igt, steps": _n_pg_igt(0.2, 0.5)._replace(estimator=_PER_STEP),
            "n-mpg, trajectories": _n_mpg(0.2, 0.5),
            "n-mpg, steps": _n_mpg(0.4, 0.5)._replace(estimator=_PER_STEP),
            "reinforce, trajectories": Setting(REINFORCE(gamma=Schedule(0.005)), _BASELINE),
            "reinforce, steps": Setting(REINFORCE(gamma=Schedule(0.2)), _PER_STEP),
        },
    ),
    "schedule": Ablation(
        "N-PG-IGT with other exponents p of its step size and other floors of eta",
        {
            "p = 1, no floor (paper)": _n_pg_igt(0.8, 0.0, 1.0),
            "p = 1, floor 0.5": _n_pg_igt(0.8, 0.5, 1.0),
            "p = 1/2, no floor": _n_pg_igt(0.4, 0.0, 0.5),
            "p = 1/2, floor 0.5": _n_pg_igt(0.4, 0.5, 0.5),
            "p = 0, no floor": _n_pg_igt(0.05, 0.0),
            "p = 0, floor 0.2": _n_pg_igt(0.1, 0.2),
            "p = 0, floor 0.5": _n_pg_igt(0.2, 0.5),
        },
    ),
    "transport": Ablation(
        "N-PG-IGT against N-MPG, the same without transport, with the same eta",
        {
            "n-pg-igt, eta >= 0.1": _n_pg_igt(0.1, 0.1),
            "n-mpg, eta >= 0.1": _n_mpg(0.1, 0.1),
            "n-pg-igt, eta >= 0.2": _n_pg_igt(0.1, 0.2),
            "n-mpg, eta >= 0.2": _n_mpg(0.2, 0.2),
            "n-pg-igt, eta >= 0.5": _n_pg_igt(0.2, 0.5),
            "n-mpg, eta >= 0.5": _n_mpg(0.2, 0.5),
        },
    ),
    "normalised": Ablation(
        "three agents with normalized steps and without",
        {
            "n-sgd": Setting(NSGD(gamma=Schedule(0.2)), _BASELINE),
            "reinforce": Setting(REINFORCE(gamma=Schedule(0.005)), _BASELINE),
            "n-pg-igt": _n_pg_igt(0.2, 0.5),
            "pg-igt": Setting(PGIGT(gamma=Schedule(0.005), eta=Schedule(1.0, 0.8, 0.5)), _BASELINE),
            "n-harpg": Setting(NHARPG(gamma=Schedule(0.2), eta=Schedule(1.0, 1.0, 0.7)), _BASELINE),
            "harpg": Setting(HARPG(gamma=Schedule(0.0025), eta=Schedule(1.0, 1.0, 0.7)), _BASELINE),
        },
    ),
}
"""By name."""
