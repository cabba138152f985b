"""The least that an environment step can cost: its operations at the machine's ceilings. Counted in README.md here.

Operations other than matrix products are vector instructions of one lane, a fused multiply-add being one, and their
ceiling is the rate of the fused multiply-adds of a matrix product: half of its flops. All share the vector units, so
their times add up; copying overlaps with them.
"""

from typing import NamedTuple

from experiments.benchmarks.ceilings import Ceilings

PHILOX_WORDS = 4


class Work(NamedTuple):
    """Of one environment step."""

    flops: float = 0.0
    """In matrix products."""
    operations: float = 0.0
    """Vector instructions of a lane outside of matrix products."""
    tanh: float = 0.0
    bytes: float = 0.0
    """Read and written."""

    def plus(self, other: "Work") -> "Work":
        """Both."""
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def seconds(self, ceilings: Ceilings) -> float:
        """The floor: computing and copying at the ceilings of one core, at the same time."""
        computing = self.flops / ceilings.flops + 2 * self.operations / ceilings.flops + self.tanh / ceilings.tanh
        return max(computing, self.bytes / ceilings.cached_bytes)


ROUND = 2 * 2 + 4 + 2
"""Of Philox: two wide products, of which a register holds half, four exclusive ors, two additions to the key."""
DRAW = 10 * ROUND / PHILOX_WORDS + 3
"""A uniform: its share of a block of ten rounds, then shift, conversion, scaling."""
EPISODE = 22.3
"""Mean steps of CartPole-v1 under random actions."""

CARTPOLE = Work(operations=1 + 4 + 5 + 2 + 4 + 5 + 10 + 5)
"""Force, common term, angular and linear acceleration, Euler step, termination, sine and cosine, counters."""
PENDULUM = Work(operations=3 + 3 + 8 + 5 + 2 + 3 + 1 + 3)
"""Torque, angle reduced, sine, cost, acceleration, velocity, angle, counters."""
RANDOM_STEPS = {
    "CartPole-v1": CARTPOLE.plus(Work(operations=DRAW + 1 + (4 * DRAW + 8) / EPISODE)),
    "Pendulum-v1": PENDULUM.plus(Work(operations=DRAW + (2 * DRAW + 4) / 200)),
}
"""Environment -> the work of a step with a random action, resets included."""
FACES = {
    "CartPole-v1": Work(bytes=2 * 16 + 16 + 8 + 8 + 2),
    "Pendulum-v1": Work(bytes=2 * 8 + 12 + 4 + 8 + 2),
}
"""Environment -> what a step besides reads and writes that is seen from outside: state, observation, action, reward,
flags."""


def policy_step(width: int) -> Work:
    """A step of CartPole-v1 with the actions of a 4-width-width-2 tanh network, sampled."""
    units = 2 * width
    network = Work(flops=2 * (4 * width + width**2 + 2 * width), operations=units + 2, tanh=units)
    return network.plus(CARTPOLE).plus(Work(operations=DRAW + SAMPLING))


SAMPLING = 20
"""Of an action out of two: an exponential function, a division, a comparison."""
