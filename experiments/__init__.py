"""The loop, the records, the statistics and the command line; imports all the other packages."""

from experiments.compare import Compared, Comparison, compare
from experiments.exact import ExactProblem
from experiments.ledger import Ledger
from experiments.loop import Result, run
from experiments.objective_problem import ObjectiveProblem
from experiments.policy_problem import PolicyProblem
from experiments.presets import PRESETS, Preset, Setting
from experiments.problems import Problem
from experiments.tune import Tuned, tune

__all__ = [
    "PRESETS",
    "Compared",
    "Comparison",
    "ExactProblem",
    "Ledger",
    "ObjectiveProblem",
    "PolicyProblem",
    "Preset",
    "Problem",
    "Result",
    "Setting",
    "Tuned",
    "compare",
    "run",
    "tune",
]
