"""One step of every copy at a time, as the Gymnasium face needs it, with its autoreset inside the kernel.

A copy per lane; between two calls its state waits in memory. One core does all: 16,384 copies of CartPole take it
0.13 ms, about what waking another one takes. Draws come from the same counters as those of
`envs.copies.PlainCopies`, the definition, so both follow the same episodes up to rounding.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, final

import numba
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from envs.copies import CONTINUE, Copies, Mask, Observations, Step
from envs.core import Discrete, Env
from envs.fused.core import Dynamics
from envs.fused.draws import COUNTER, LANE, fill_uniforms, set_sequence
from envs.fused.dynamics import DYNAMICS
from envs.fused.lanes import LANES, any_of, compiled, convert, everywhere, load, row, set_row, store, where
from envs.fused.launch import launch, sources
from envs.random import Purpose

OVER, NEW = range(2)
"""Rows of a copy's flags, int32: its episode is over; it is to begin one."""
LEAVE = -2
"""In place of a seed: no new episode."""
NO_SEEDS = np.empty(0, np.int64)
RESET, TRANSITION = int(Purpose.RESET), int(Purpose.TRANSITION)


def supports(env: Env) -> bool:
    """Whether there is a kernel. Float64 is left to the definition, whose CartPole has the bits of Gymnasium's."""
    return env.device.type == "cpu" and env.dtype == torch.float32 and type(env) in DYNAMICS


@final
class FusedCopies(Copies):
    """Stepped in lanes, in float32; the last lanes may have no copy."""

    def __init__(self, env: Env, size: int, limit: int, autoreset: AutoresetMode) -> None:
        super().__init__(env, size, limit, autoreset)
        spec, blocks, dynamics = env.spec, -(-size // LANES), DYNAMICS[type(env)]
        self._kernel, self._name = _kernel(dynamics), f"steps of {type(env).__name__} in {env.dtype}"
        self._observed, self._same_step = (blocks * LANES, spec.observation_size), autoreset is AutoresetMode.SAME_STEP
        self._flags, self._refused = np.zeros((blocks, 2, LANES), np.int32), np.zeros(1, np.bool_)
        self._fixed = (
            int(autoreset is AutoresetMode.NEXT_STEP), int(self._same_step), limit,
            *((spec.action.n, 1) if isinstance(spec.action, Discrete) else (0, spec.action.size)),
            spec.reset_draws, spec.transition_draws,
            tuple(table.contiguous().numpy() for table in dynamics.tables(env)),
            np.zeros((blocks, dynamics.rows(spec), LANES), np.float32), np.zeros((blocks, 4, LANES), np.uint64),
            self._flags, self._refused,
        )  # fmt: skip
        self._no_actions = np.empty((0, *self._shape[1:]), np.float32)

    @property
    def over(self) -> Mask:
        """See `Copies`."""
        return self._flags[:, OVER].reshape(-1)[: self.size] == 1

    def begin(self, mask: Mask, seeds: NDArray[np.int64]) -> Observations:
        """See `Copies`."""
        self.begun = True
        return self._launch(self._no_actions, np.where(mask, seeds, LEAVE)).observations

    def _step(self, actions: NDArray[Any]) -> Step | None:
        step = self._launch(actions.astype(np.float32, order="C"), NO_SEEDS)
        return None if self._refused[0] else step

    def _launch(self, actions: NDArray[np.float32], seeds: NDArray[np.int64]) -> Step:
        """A step with actions [n] or [n, A], or new episodes with seeds [n]; the other one of them is empty."""
        n, (lanes, size) = self.size, self._observed
        observations, rewards, ends = np.empty((lanes, size), np.float32), np.empty(lanes), np.empty((2, lanes), bool)
        finals = np.empty((lanes * self._same_step, size), np.float32)
        launch(
            self._kernel, self._name, lanes // LANES, False, *self._fixed, actions, seeds, observations, rewards,
            ends.view(np.uint8), finals,
        )  # fmt: skip
        return Step(observations[:n], rewards[:n], ends[0, :n], ends[1, :n], finals[:n] if self._same_step else None)


@compiled
def refused(actions: Any, choices: int) -> bool:
    """Whether one of the actions is not a number or, where there are `choices`, none of them."""
    found, whole = everywhere(np.int32(0)), actions.size // LANES * LANES
    for i in range(0, whole, LANES):
        each = load(actions, i)
        wrong = (each != each) if choices == 0 else (each != each) | (each < 0.0) | (each >= choices)
        found = where(wrong, 1, found)
    rest = False
    for each in actions[whole:]:
        rest |= each != each or (choices > 0 and not 0 <= each < choices)
    return rest or any_of(found == 1)


@compiled
def begin(seeds: Any, first: int, sequences: Any, flags: Any) -> None:
    """Which copies begin an episode by seeds [n] from `first` on, and where its draws come from."""
    set_row(flags, NEW, 0)
    for i in range(min(LANES, seeds.size - first)):
        if seeds[first + i] == LEAVE:
            continue
        flags[NEW, i], flags[OVER, i] = 1, 0
        if seeds[first + i] == CONTINUE:
            sequences[COUNTER, i] += np.uint64(1)
        else:
            set_sequence(sequences, i, seeds[first + i], 0, 0)


@compiled
def hand_out(obs: Any, out: Any, first: int) -> None:
    """Observations [O, LANES] as rows of out [n, O] from `first` on."""
    for i in range(LANES):
        for k in range(out.shape[1]):
            out[first + i, k] = obs[k, i]


@cache
def _kernel(dynamics: Dynamics) -> Callable[..., None]:
    _, reset, step, observe, _ = dynamics
    checksum = sources()

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def kernel(  # type: ignore[no-untyped-def]
        first_task, stride, tasks, next_step, same_step, limit, choices, width, reset_draws, transition_draws, tables,
        states, all_sequences, all_flags, refusal, actions, seeds, observations, rewards, ends, finals,
    ):  # fmt: skip
        checksum  # noqa: B018
        stepping, real, flat = actions.size > 0, states.dtype, actions.reshape(-1)
        refusal[0] = refused(flat, choices)
        if refusal[0]:
            return
        # The last lanes may have no copy; they are played as if they had, from zero.
        start, fresh = np.empty(((reset_draws + 3) // 4 * 4, LANES), real), np.empty(states.shape[1:], real)
        chance = np.empty(((transition_draws + 3) // 4 * 4, LANES), real)
        action, reward = np.zeros((width, LANES), real), np.empty((1, LANES), real)
        obs, block = np.empty((observations.shape[1], LANES), real), np.zeros(LANES, np.uint64)
        for task in range(first_task, tasks, stride):
            first, state, sequences, flags = task * LANES, states[task], all_sequences[task], all_flags[task]
            if stepping:
                if width == 1 and first + LANES <= flat.size:
                    set_row(action, 0, load(flat, first))
                else:
                    for i in range(min(LANES, flat.size // width - first)):
                        for k in range(width):
                            action[k, i] = flat[(first + i) * width + k]
                if transition_draws > 0:
                    fill_uniforms(block, TRANSITION, sequences, chance)
                worth, ended = step(state, action, chance[:transition_draws], tables)
                set_row(sequences, LANE, row(sequences, LANE) + 1)
                # A copy that begins anew takes no step: that of its old episode is thrown away with it.
                renewed = row(flags, OVER) * next_step
                took = renewed == 0
                set_row(reward, 0, worth)
                store(rewards, first, convert(where(took, row(reward, 0), 0.0), np.float64))
                end = where(ended & took, 1, 0 * renewed)
                cut = where((row(sequences, LANE) >= limit) & took, 1, 0 * renewed)
                store(ends, first, convert(end, np.uint8))
                store(ends, ends.shape[1] + first, convert(cut, np.uint8))
                new = renewed | ((end | cut) * same_step)
                set_row(flags, OVER, end | cut)
                set_row(flags, NEW, new)
                set_row(sequences, COUNTER, row(sequences, COUNTER) + convert(new, np.uint64))
                if same_step == 1 and any_of(new == 1):
                    observe(state, obs)
                    hand_out(obs, finals, first)
            else:
                begin(seeds, first, sequences, flags)
            if any_of(row(flags, NEW) == 1):
                set_row(sequences, LANE, where(row(flags, NEW) == 1, 0, row(sequences, LANE)))
                fill_uniforms(block, RESET, sequences, start)
                reset(fresh, start, tables)
                for k in range(state.shape[0]):
                    set_row(state, k, where(row(flags, NEW) == 1, row(fresh, k), row(state, k)))
            observe(state, obs)
            hand_out(obs, observations, first)

    return kernel
