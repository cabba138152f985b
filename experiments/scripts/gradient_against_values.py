"""A method that sees gradients against one that does not, on the same function and the same axis of queries."""

import torch

import envs
import experiments
import rl
import zeroth_order


def main(seeds: int = 16, budget: int = 4_000) -> None:
    torch.set_num_threads(1)
    problem = experiments.ObjectiveProblem(zeroth_order.Rosenbrock(dim=5), tolerance=0.1)
    agent = rl.NPGIGT(gamma=envs.Schedule(0.3, 0.5), eta=envs.Schedule(1.0, 0.8, floor=0.3))
    for algorithm in (agent, zeroth_order.CMAES(sigma0=1.0), zeroth_order.CBO(spread=2.0)):
        found = experiments.run(algorithm, problem, seeds=seeds, budget=budget)
        values = -problem.score(found.parameters, envs.streams(range(seeds)))["negative value"]
        reached = int((found.hits >= 0).sum())
        print(f"{algorithm.id:>9}: median f = {float(values.median()):.3g}, {reached} of {seeds} within 0.1")


if __name__ == "__main__":
    main()
