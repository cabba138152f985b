"""Train on any Gymnasium environment, and use one of ours through Gymnasium's interface."""

import gymnasium
import torch

import envs
import experiments
import zeroth_order


def main(seeds: int = 2, budget: int = 20_000) -> None:
    torch.set_num_threads(1)
    theirs = envs.make("gym:CartPole-v1", horizon=200)
    policy = envs.Linear(theirs.spec, head=envs.deterministic_head(theirs.spec.action))
    problem = experiments.PolicyProblem(theirs, policy, evaluation_episodes=4)
    found = experiments.run(zeroth_order.CBO(particles=10), problem, seeds=seeds, budget=budget, evaluations=4)
    print("returns", problem.score(found.parameters, envs.streams(range(seeds)))["return"].tolist())
    ours = gymnasium.make_vec("zopg/CartPole-v1", num_envs=4)
    observations, _ = ours.reset(seed=0)
    print("ours through Gymnasium:", type(observations).__name__, observations.shape)


if __name__ == "__main__":
    main()
