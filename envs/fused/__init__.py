"""Fused rollout backends: environment, policy, sampling and the time loop in one kernel. `envs.rollout` picks them."""
