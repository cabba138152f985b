"""Heads in lanes: from a network's outputs to actions and their log-probabilities, as `envs.heads`."""

import math
from typing import Any

from envs.fused.functions import exp, log
from envs.fused.lanes import LANES, Value, compiled, everywhere, load, row, set_row, store, where

LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)


@compiled
def softmax(logits: Any, first: int, n: int, odds: Any) -> tuple[Value, Value]:
    """Odds exp(logit - largest) of n rows, both from entry `first` on; the largest logit, and the sum of the odds."""
    end = first + n * LANES
    top = load(logits, first)
    for i in range(first + LANES, end, LANES):
        top = where(load(logits, i) > top, load(logits, i), top)
    total = everywhere(logits.dtype.type(0))
    for i in range(first, end, LANES):
        each = exp(load(logits, i) - top)
        store(odds, i, each)
        total = total + each
    return top, total


@compiled
def categorical(logits: Any, odds: Any, uniform: Value, log_prob: bool) -> tuple[Value, Value]:
    """Action, as a real number, and its log-probability if asked for, from logits and scratch [n, LANES]."""
    n = logits.shape[0]
    top, total = softmax(logits, 0, n, odds)
    reached, action, cumulative, chosen = uniform * total, 0.0 * uniform, 0.0 * uniform, row(logits, 0)
    for i in range(n - 1):
        cumulative = cumulative + row(odds, i)
        further = reached > cumulative
        action, chosen = where(further, i + 1.0, action), where(further, row(logits, i + 1), chosen)
    if not log_prob:
        return action, total
    return action, chosen - top - log(total)


@compiled
def largest(outputs: Any) -> Value:
    """Index of the first largest of outputs [n, LANES], as a real number."""
    top, action = row(outputs, 0), everywhere(outputs.dtype.type(0))
    for i in range(1, outputs.shape[0]):
        larger = row(outputs, i) > top
        top, action = where(larger, row(outputs, i), top), where(larger, float(i), action)
    return action


@compiled
def gaussian(means: Any, log_std: Any, std: Any, noise: Any, action: Any) -> Value:
    """Write action = mean + std noise, all [A, LANES]; its log-density."""
    total = 0.0 * row(noise, 0)
    for i in range(action.shape[0]):
        z = row(noise, i)
        set_row(action, i, row(means, i) + row(std, i) * z)
        total = total - (0.5 * (z * z) + row(log_std, i) + LOG_SQRT_TWO_PI)
    return total
