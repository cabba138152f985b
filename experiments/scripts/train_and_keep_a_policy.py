"""Train N-PG-IGT for several seeds at once, save the best policy, load it and take it away as a torch module."""

from pathlib import Path
from tempfile import mkdtemp

import torch

import envs
import experiments
import rl


def main(seeds: int = 16, budget: int = 60_000) -> None:
    torch.set_num_threads(1)
    env = envs.make("CartPole-v1", device="cpu", horizon=200)
    policy = envs.MLP(env.spec, hidden=(8,))
    estimator = rl.Estimator(episodes=8, baseline=rl.time_baseline)
    problem = experiments.PolicyProblem(env, policy, discount=0.99, estimator=estimator)
    agent = rl.NPGIGT(gamma=envs.Schedule(0.3, 0.25), eta=envs.Schedule(1.0, 0.8, floor=0.3))
    trained = experiments.run(agent, problem, seeds=seeds, budget=budget).parameters
    scores = problem.score(trained, envs.streams(range(seeds)))["return"]
    path = Path(mkdtemp(prefix="zopg-")) / "policy"
    envs.save_policy(path, policy, trained[scores.argmax()])
    loaded, params = envs.load_policy(path)
    module = loaded.to_module(params)
    print(f"best of {seeds}: return {float(scores.max()):.0f}; pushes", module.act(torch.tensor([0.0, 0.0, 0.1, 0.0])))


if __name__ == "__main__":
    main()
