"""What holds for every policy gradient agent of the registry."""

import ast
import inspect
import re
import sys
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.algorithm import Schedule
from envs.random import Purpose, Stream, streams
from rl import ALGORITHMS, PolicyGradient

F64 = torch.float64
D = 5
FIXED = {"n-sgd": {"eta"}}
"""Fields that an agent does not let vary."""
FITTED: dict[str, dict[str, Any]] = {
    "anpg": {"fisher_max": 2.0, "fisher_min": 0.5, "inner": 16},
    "npg-hm": {"zeta": 0.4, "inner": 4},
}
"""Settings that belong to the scale of the Fisher information, here that of `Noisy`, and little work."""


@dataclass(frozen=True)
class Noisy:
    """Gradients and products of f(x) = x A x / 2 with noise from the stream of each run; exact where `noise` is 0."""

    points: Tensor
    stream: Stream
    noise: float

    def gradient(self, at: Tensor | None = None) -> Tensor:
        return self._disturbed((self.points if at is None else at) * self.curvature(), Purpose.TRAIN)

    def hvp(self, u: Tensor) -> Tensor:
        return self._disturbed(u * self.curvature(), Purpose.EVALUATE)

    def fisher_vp(self, v: Tensor) -> Tensor:
        return v * self.curvature()

    def log_weights(self, at: Tensor) -> Tensor:
        return (self.points - at).sum(-1, keepdim=True)

    def at_point(self, k: int, copies: int = 1) -> "Noisy":
        return Noisy(self.points[:, k : k + 1], self.stream.fold(Purpose.INSTANCE).at(self.stream.counter), self.noise)

    def curvature(self) -> Tensor:
        return torch.linspace(0.5, 2.0, D, dtype=self.points.dtype)

    def _disturbed(self, exact: Tensor, purpose: Purpose) -> Tensor:
        if not self.noise:
            return exact
        lanes = torch.arange(exact.shape[1])
        return exact + self.noise * self.stream.fold(purpose).spread(lanes).normal(D, dtype=exact.dtype)


def start(agent: PolicyGradient, seeds: list[int], dtype: torch.dtype = F64) -> Any:
    root = streams(seeds)
    return agent.init(root.fold(Purpose.INSTANCE).normal(D, dtype=dtype), root.fold(Purpose.INITIAL))


def advance(
    agent: PolicyGradient, state: Any, seeds: list[int], steps: range, noise: float = 0.2
) -> tuple[Any, dict[str, Tensor], Tensor]:
    """The state, and the metrics and points of the last iteration."""
    root, metrics, points = streams(seeds), {}, torch.empty(0)
    for t in steps:
        points, state = agent.ask(state, root.fold(Purpose.ASK).at(t))
        state, metrics = agent.tell(state, points, Noisy(points, root.at(t), noise))
    return state, metrics, points


def leaves(state: Any) -> dict[str, Tensor]:
    return {name: value for name, value in state._asdict().items() if isinstance(value, Tensor)}


@pytest.fixture(params=ALGORITHMS, name="kind")
def _kind(request: pytest.FixtureRequest) -> type[PolicyGradient]:
    return ALGORITHMS[request.param]


def test_it_says_what_it_is(kind: type[PolicyGradient]) -> None:
    assert ALGORITHMS[kind.id] is kind
    assert kind.summary
    assert "\n" not in kind.summary
    assert re.search(r"\b(19|20)\d\d\b", kind.paper), "the paper's year"
    assert kind.__doc__


def test_every_field_says_what_it_is(kind: type[PolicyGradient]) -> None:
    """A string literal follows each field of the configuration, here or in the class it is inherited from."""
    documented = set()
    for base in kind.__mro__:
        if base.__module__.startswith("rl."):
            (tree,) = ast.parse(inspect.getsource(base)).body
            for field, doc in zip(tree.body[:-1], tree.body[1:], strict=True):
                text = doc.value.value if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) else None
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
                    documented.add(field.target.id)
    assert {field.name for field in fields(kind)} <= documented


def test_its_file_reads_like_the_paper(kind: type[PolicyGradient]) -> None:
    """Numbered pseudo-code in the docstring, every line of which is found in the code, and the deviations."""
    module = sys.modules[kind.__module__]
    numbered = re.findall(r"^    (\d+)  \S", module.__doc__, re.MULTILINE)
    assert numbered == [str(i + 1) for i in range(len(numbered))]
    assert numbered
    code = inspect.getsource(module)
    assert [line for line in numbered if f"# l.{line}" not in code] == []
    assert "Deviations from the paper:" in module.__doc__


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_run_is_the_same_alone_and_among_others(kind: type[PolicyGradient], dtype: torch.dtype) -> None:
    agent, seeds = kind(), [3, 1, 4, 15, 9]
    together, metrics, points = advance(agent, start(agent, seeds, dtype), seeds, range(12))
    for r, seed in enumerate(seeds):
        alone, its_metrics, its_points = advance(agent, start(agent, [seed], dtype), [seed], range(12))
        for name, leaf in leaves(together).items():
            assert torch.equal(leaf[r], leaves(alone)[name][0]), name
        for name, metric in metrics.items():
            assert torch.equal(metric[r], its_metrics[name][0]), name
        assert torch.equal(points[r], its_points[0])


def test_runs_differ(kind: type[PolicyGradient]) -> None:
    """So the test above can fail: two runs from one start go apart by their own noise."""
    agent, x0 = kind(), torch.ones(2, D, dtype=F64)
    state, _, _ = advance(agent, agent.init(x0, streams([0, 1])), [0, 1], range(3))
    assert not torch.equal(*agent.recommend(state))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_shapes_and_types(kind: type[PolicyGradient], dtype: torch.dtype) -> None:
    agent, seeds = kind(), [0, 1, 2]
    for steps in (1, 4):
        state, metrics, points = advance(agent, start(agent, seeds, dtype), seeds, range(steps))
        assert points.shape[::2] == (3, D)
        assert points.dtype == agent.recommend(state).dtype == dtype
        assert agent.recommend(state).shape == (3, D)
        assert leaves(state)
        for name, leaf in leaves(state).items():
            assert leaf.shape[0] == 3, name
            assert leaf.dtype == dtype or not leaf.is_floating_point(), name
        assert metrics
        assert metrics["direction"].shape == (3, D)
        scalars = {name: metric for name, metric in metrics.items() if name != "direction"}
        assert all(metric.shape == (3,) and metric.dtype == dtype for metric in scalars.values())
        assert all(met.shape == (3,) and met.dtype == torch.bool for met in agent.stop(state).values())


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_sweep_is_one_batch(kind: type[PolicyGradient], dtype: torch.dtype) -> None:
    """Numbers along the run axis, float64 as a sweep hands them over; equal to separate runs within rounding."""
    swept = [f.name for f in fields(kind) if isinstance(f.default, Schedule) and f.name not in FIXED.get(kind.id, ())]
    assert "gamma" in swept
    seeds, scales, exponents, floors = [0, 1, 2], [0.05, 0.3, 1.0], [0.0, 0.5, 1.0], [0.0, 0.05, 0.4]
    batch = Schedule(*(torch.tensor(numbers, dtype=F64) for numbers in (scales, exponents, floors)))
    together = kind(**dict.fromkeys(swept, batch))
    state, _, _ = advance(together, start(together, seeds, dtype), seeds, range(8))
    assert together.recommend(state).dtype == dtype
    for r, seed in enumerate(seeds):
        one = kind(**dict.fromkeys(swept, Schedule(scales[r], exponents[r], floors[r])))
        alone, _, _ = advance(one, start(one, [seed], dtype), [seed], range(8))
        tolerance = 1e-10 if dtype == F64 else 1e-4
        torch.testing.assert_close(
            together.recommend(state)[r], one.recommend(alone)[0], rtol=tolerance, atol=tolerance
        )


def test_resuming_continues_bit_for_bit(kind: type[PolicyGradient]) -> None:
    agent, seeds = kind(), [5, 6, 7]
    through, metrics, _ = advance(agent, start(agent, seeds), seeds, range(10))
    half, _, _ = advance(agent, start(agent, seeds), seeds, range(5))
    parts = agent.pack(half)
    assert all(isinstance(part, Tensor | int | float) for part in parts.values())
    parts = {name: part.clone() if isinstance(part, Tensor) else part for name, part in parts.items()}
    unpacked = agent.unpack(start(agent, seeds), parts)
    assert type(unpacked) is type(half)
    for one, other in zip(unpacked, half, strict=True):
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
    resumed, again, _ = advance(agent, unpacked, seeds, range(5, 10))
    for name, leaf in leaves(through).items():
        assert torch.equal(leaf, leaves(resumed)[name]), name
    for name, metric in metrics.items():
        assert torch.equal(metric, again[name]), name


def test_the_iterate_is_recommended(kind: type[PolicyGradient]) -> None:
    """Not a point that is sampled at: first x0, then theta, which asking leaves alone."""
    agent, seeds = kind(), [0, 1]
    state = start(agent, seeds)
    assert torch.equal(agent.recommend(state), streams(seeds).fold(Purpose.INSTANCE).normal(D, dtype=F64))
    for t in range(4):
        before = agent.recommend(state).clone()
        _, state = agent.ask(state, streams(seeds).at(t))
        assert torch.equal(agent.recommend(state), before)
        state, _, _ = advance(agent, state, seeds, range(t, t + 1))
        assert torch.equal(agent.recommend(state), state.theta)
        assert not torch.equal(agent.recommend(state), before)


@pytest.mark.parametrize("name", ["n-pg-igt", "harpg", "n-harpg", "npg-hm"])
def test_some_agents_sample_elsewhere(name: str) -> None:
    """The look-ahead of N-PG-IGT and the second point of HARPG are not the iterate."""
    agent = ALGORITHMS[name]()
    state, _, _ = advance(agent, start(agent, [0]), [0], range(3))
    points, _ = agent.ask(state, streams([0]).at(3))
    assert not torch.equal(points[:, -1], agent.recommend(state))


def test_tell_leaves_the_old_state_alone(kind: type[PolicyGradient]) -> None:
    agent = kind()
    state, _, _ = advance(agent, start(agent, [0, 1]), [0, 1], range(3))
    before = {name: leaf.clone() for name, leaf in leaves(state).items()}
    advance(agent, state, [0, 1], range(3, 5))
    assert all(torch.equal(leaf, before[name]) for name, leaf in leaves(state).items())


def test_minimises_a_convex_quadratic(kind: type[PolicyGradient]) -> None:
    """Exact derivatives, curvatures in [0.5, 2], 6 runs; the same schedule for all agents."""
    agent, seeds = kind(gamma=Schedule(0.4, 0.75), **FITTED.get(kind.id, {})), list(range(6))
    state = start(agent, seeds)
    state, _, _ = advance(agent, state, seeds, range(1500), noise=0.0)
    gradient = Noisy(agent.recommend(state)[:, None], streams(seeds), 0.0).gradient()
    assert (gradient.norm(dim=-1) < 0.02).all()


def test_no_global_generator_is_touched(kind: type[PolicyGradient]) -> None:
    def states() -> tuple[Any, ...]:
        return (*(np.asarray(part).tolist() for part in np.random.get_state()), torch.get_rng_state().tolist())

    before = states()
    advance(kind(), start(kind(), [0, 1]), [0, 1], range(3))
    assert states() == before


def test_a_configuration_is_plain_data(kind: type[PolicyGradient]) -> None:
    """Frozen, hashable and equal by value, so that it can be printed and named by its hash."""
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    assert kind(gamma=Schedule(0.123)) != kind()
    with pytest.raises(AttributeError):
        kind().gamma = Schedule(0.5)
