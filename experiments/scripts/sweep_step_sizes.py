"""Sweep a step size in one batch: the hyper-parameter is a tensor along the run axis."""

import torch

import envs
import experiments
import rl


def main(seeds: int = 8, budget: int = 30_000) -> None:
    torch.set_num_threads(1)
    env = envs.make("CartPole-v1", device="cpu", horizon=200)
    estimator = rl.Estimator(episodes=8, baseline=rl.time_baseline)
    problem = experiments.PolicyProblem(env, envs.MLP(env.spec, hidden=(8,)), estimator=estimator)
    sizes = torch.tensor([0.003, 0.01, 0.03, 0.1])
    agent = rl.REINFORCE(gamma=envs.Schedule(sizes.repeat_interleave(seeds)))
    tuning_seeds = [1_000_000 + i for _ in sizes for i in range(seeds)]
    found = experiments.run(agent, problem, seeds=tuning_seeds, budget=budget)
    scores = problem.score(found.parameters, envs.streams(tuning_seeds))["return"].view(len(sizes), seeds)
    for size, score in zip(sizes.tolist(), scores.median(1).values.tolist(), strict=True):
        print(f"gamma = {size:g}: median return {score:.0f}")


if __name__ == "__main__":
    main()
