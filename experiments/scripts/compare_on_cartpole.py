"""Compare a policy gradient agent with a derivative-free optimizer on CartPole, on one axis."""

from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import torch

from experiments import PRESETS, Comparison, compare
from experiments.report import cells


def main(seeds: int = 16, budget: int = 40_000) -> None:
    torch.set_num_threads(1)
    preset = replace(PRESETS["cartpole"], algorithms=("n-pg-igt", "cbo"), seeds=seeds, budget=budget)
    out = Path(mkdtemp(prefix="zopg-"))
    for row in compare(Comparison(preset), out).rows:
        print(*cells(row), sep="  ")
    print("wrote", out / "curves.png")


if __name__ == "__main__":
    main()
