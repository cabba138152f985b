"""Environments, policies and rollouts: the ground floor."""
