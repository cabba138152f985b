"""Natural gradients on exact and scripted oracles: conjugate gradients, NPG, ANPG and NPG-HM."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from oracles import F64, Quadratic, Scripted, trace, transport_error
from torch import Tensor
from torch.testing import assert_close

from envs.algorithm import Schedule
from envs.policies import Linear
from envs.random import streams
from envs.tabular import TabularMDP
from experiments.loop import run
from experiments.objective_problem import ObjectiveProblem
from experiments.policy_problem import PolicyProblem
from rl import ANPG, NHARPG, NPG, NPGHM, Estimator, PolicyGradient
from rl.conjugate_gradient import conjugate_gradient
from rl.npg import Normalized
from zeroth_order import Sphere

DISCOUNT = 0.9


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return streams([seed]).normal(torch.Size(shape).numel(), dtype=dtype).view(shape)


def systems(runs: int = 4, d: int = 7, rank: int = 7, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    """A [R, d, d], positive semidefinite of the given rank, and b [R, d] in its range."""
    root = normal(runs, d, rank, dtype=dtype)
    return root @ root.mT, (root @ normal(runs, rank, 1, seed=1, dtype=dtype))[..., 0]


def times(A: Tensor) -> Callable[[Tensor], Tensor]:
    """Elementwise, so that a run's product does not depend on the others to the bit."""
    return lambda v: (A * v[:, None]).sum(-1)


def test_conjugate_gradients_solve_in_d_iterations() -> None:
    A, b = systems()
    assert_close(conjugate_gradient(times(A), b, 7), torch.linalg.solve(A, b), rtol=1e-8, atol=1e-8)
    early = conjugate_gradient(times(A), b, 3) - torch.linalg.solve(A, b)
    assert (early.norm(dim=-1) > 1e-3).all()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_conjugate_gradients_stay_at_the_solution(dtype: torch.dtype) -> None:
    """Of a singular system as well, whose least solution they find: rounding in its null space is not blown up."""
    A, b = systems(rank=3, dtype=dtype)
    least = (torch.linalg.pinv(A.double(), rtol=1e-5) @ b.double()[..., None])[..., 0].to(dtype)
    found = conjugate_gradient(times(A), b, 50)
    assert_close(found, least, rtol=1e-8 if dtype == F64 else 1e-2, atol=1e-8 if dtype == F64 else 1e-2)
    assert torch.equal(conjugate_gradient(times(A), b, 200), conjugate_gradient(times(A), b, 100))


def test_conjugate_gradients_keep_zero_and_spread_no_failure() -> None:
    """A run without a right side stays at 0, one that failed is NaN, the others do not notice."""
    A, b = systems()
    mixed = b.clone()
    mixed[1], mixed[2, 3] = 0.0, torch.nan
    found, healthy = conjugate_gradient(times(A), mixed, 9), conjugate_gradient(times(A), b, 9)
    assert torch.equal(found[1], torch.zeros(7, dtype=F64))
    assert found[2].isnan().all()
    assert torch.equal(found[[0, 3]], healthy[[0, 3]])
    failing = A.clone()
    failing[0, 0, 0] = torch.nan
    assert conjugate_gradient(times(failing), b, 1)[0].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_conjugate_gradients_of_a_run_do_not_depend_on_the_others(dtype: torch.dtype) -> None:
    """Bit for bit."""
    A, b = systems(dtype=dtype)
    together = conjugate_gradient(times(A), b, 9)
    for r in range(4):
        assert torch.equal(together[r], conjugate_gradient(times(A[r : r + 1]), b[r : r + 1], 9)[0])


@dataclass(frozen=True)
class ExactMDP:
    """Exact oracle of f = -J at points [R, K, d] of the tabular softmax policy, horizon long enough for 1e-15."""

    mdp: TabularMDP
    points: Tensor

    def policy(self) -> Tensor:
        states, actions = self.mdp.r.shape
        return torch.softmax(self.points.unflatten(-1, (actions, states)).mT, -1)

    def gradient(self, at: Tensor | None = None) -> Tensor:
        moved = replace(self, points=(self.points if at is None else at).clone().requires_grad_())
        with torch.enable_grad():
            J = self.mdp.exact_return(moved.policy(), 340, DISCOUNT)
            return torch.autograd.grad(-J.sum(), moved.points)[0]

    def fisher(self) -> Tensor:
        """sum_s d(s) sum_a pi(a | s) s s', [R, K, d, d], with d = sum_t discount^t P(s_t = s) from a linear system."""
        pi, (states, actions) = self.policy(), self.mdp.r.shape
        walk = torch.einsum("...sa,sat->...st", pi, self.mdp.P)
        visits = torch.linalg.solve(torch.eye(states, dtype=F64) - DISCOUNT * walk.mT, self.mdp.rho)
        F = 0.0
        for s in range(states):
            for a in range(actions):
                score = torch.zeros(*pi.shape[:-2], actions, states, dtype=F64)
                score[..., s] = torch.eye(actions, dtype=F64)[a] - pi[..., s, :]
                score = score.flatten(-2)
                F = F + (visits[..., s] * pi[..., s, a])[..., None, None] * score[..., :, None] * score[..., None, :]
        return F

    def fisher_vp(self, v: Tensor) -> Tensor:
        return (self.fisher() @ v[..., None])[..., 0]

    def advantages(self) -> Tensor:
        """A(s, a) [R, K, S, A] of the infinite horizon, from linear systems."""
        pi = self.policy()
        walk = torch.einsum("...sa,sat->...st", pi, self.mdp.P)
        V = torch.linalg.solve(torch.eye(len(self.mdp.rho), dtype=F64) - DISCOUNT * walk, (pi * self.mdp.r).sum(-1))
        return self.mdp.r + DISCOUNT * torch.einsum("sat,...t->...sa", self.mdp.P, V) - V[..., None]


def exact_mdp(runs: int = 3) -> ExactMDP:
    """Four states, three actions."""
    return ExactMDP(TabularMDP.random(4, 3, seed=5, dtype=F64), 0.7 * normal(runs, 1, 12))


def one_step(agent: PolicyGradient, oracle: ExactMDP) -> Tensor:
    """Theta [R, d] after one iteration with exact derivatives."""
    return trace(agent, oracle.points[:, 0], lambda points, t: replace(oracle, points=points), 1).states[-1].theta


def test_npg_steps_along_the_natural_gradient() -> None:
    """F^+ grad f, although F of a tabular softmax policy is singular: the mean over actions of each state is free."""
    oracle = exact_mdp()
    F, gradient = oracle.fisher()[:, 0], oracle.gradient()[:, 0]
    natural = (torch.linalg.pinv(F, rtol=1e-10, hermitian=True) @ gradient[..., None])[..., 0]
    assert (torch.linalg.matrix_rank(F, rtol=1e-10, hermitian=True) == 8).all()
    theta = one_step(NPG(gamma=Schedule(0.3), damping=0.0, iterations=12), oracle)
    assert_close(theta, oracle.points[:, 0] - 0.3 * natural, rtol=1e-9, atol=1e-9)
    damped = torch.linalg.solve(F + 0.5 * torch.eye(12, dtype=F64), gradient)
    theta = one_step(NPG(gamma=Schedule(0.3), damping=0.5, iterations=12), oracle)
    assert_close(theta, oracle.points[:, 0] - 0.3 * damped, rtol=1e-9, atol=1e-9)


def test_npg_multiplies_tabular_probabilities_by_exponentials_of_advantages() -> None:
    """pi <- pi exp(gamma A) / Z (Kakade 2001; Agarwal, Kakade, Lee, Mahajan 2021, lemma 5.1), A from linear systems."""
    oracle = exact_mdp()
    theta = one_step(NPG(gamma=Schedule(0.3), damping=0.0, iterations=12), oracle)
    weighted = oracle.policy() * (0.3 * oracle.advantages()).exp()
    expected = weighted / weighted.sum(-1, keepdim=True)
    assert_close(replace(oracle, points=theta[:, None]).policy(), expected, rtol=1e-9, atol=1e-9)
    assert float((expected - oracle.policy()).abs().max()) > 1e-2


def test_normalized_steps_have_the_given_divergence() -> None:
    """Along the same direction; a zero gradient keeps the iterate."""
    oracle = exact_mdp()
    agent = NPG(gamma=Schedule(0.02), damping=0.1, iterations=12)
    plain, step = (one_step(a, oracle) - oracle.points[:, 0] for a in (agent, replace(agent, step_size=Normalized())))
    assert_close((step * oracle.fisher_vp(step[:, None])[:, 0]).sum(-1) / 2, torch.full((3,), 0.02, dtype=F64))
    assert_close(torch.nn.functional.normalize(step), torch.nn.functional.normalize(plain))
    still = trace(NPG(step_size=Normalized()), normal(2, 3), lambda points, t: Scripted(torch.zeros(2, 3).double()), 2)
    assert torch.equal(still.states[-1].theta, normal(2, 3))


@dataclass(frozen=True)
class Copies:
    """Each copy of the iterate has a gradient and a Fisher matrix of its own, in one dimension; Hessians are 100 k."""

    gradients: Tensor
    """[R, K, 1]"""
    fisher: Tensor
    """[R, K, 1]"""
    first: int = 0

    def gradient(self, at: Tensor | None = None) -> Tensor:
        return self.gradients

    def fisher_vp(self, v: Tensor) -> Tensor:
        return self.fisher * v

    def hvp(self, u: Tensor) -> Tensor:
        return 100.0 * self.first * u

    def at_point(self, k: int, copies: int = 1) -> "Copies":
        return Copies(self.gradients[:, k : k + 1], self.fisher[:, k : k + 1], self.first + k)


def test_anpg_by_hand() -> None:
    """Three inner iterations with numbers, each with a trajectory of its own; the average is over the last two."""
    agent = ANPG(gamma=Schedule(0.5), inner=3, fisher_max=2.0, fisher_min=1.0)
    alpha, beta, xi, delta = agent.constants()
    root = 3 * 5**0.5
    assert_close((alpha, beta, xi, delta), (2 * root / (1 + 2 * root), 1 / 18, 1 / (2 * root), 0.1))
    g, F = [1.0, 3.0, -2.0], [0.5, 1.5, 2.0]
    x1, v1 = delta * g[0], xi * g[0]
    y1 = alpha * x1 + (1 - alpha) * v1
    x2 = y1 - delta * (F[1] * y1 - g[1])
    v2 = beta * y1 + (1 - beta) * v1 - xi * (F[1] * y1 - g[1])
    y2 = alpha * x2 + (1 - alpha) * v2
    x3 = y2 - delta * (F[2] * y2 - g[2])
    oracle = Copies(*(torch.tensor(numbers, dtype=F64)[None, :, None] for numbers in (g, F)))
    found = trace(agent, torch.tensor([[7.0]], dtype=F64), lambda points, t: oracle, 1)
    assert torch.equal(found.points[0], torch.full((1, 3, 1), 7.0, dtype=F64))
    w = (x2 + x3) / 2
    assert_close(found.states[-1].theta, torch.tensor([[7.0 - 0.5 * w]], dtype=F64))
    assert_close(found.metrics[0]["natural_norm"], torch.tensor([abs(w)], dtype=F64))
    assert_close(found.metrics[0]["direction"], torch.tensor([[2 / 3]], dtype=F64))


@pytest.mark.parametrize(
    "agent", [ANPG(inner=1200, fisher_max=4.0, fisher_min=0.5), NPGHM(gamma=Schedule(0.1), inner=400, zeta=0.2)]
)
def test_stochastic_solvers_find_the_natural_gradient(agent: PolicyGradient) -> None:
    """F^-1 grad f = x of the quadratic, as the oracle takes its Hessian for F."""
    A = torch.diag(torch.tensor([0.5, 1.0, 4.0], dtype=F64))
    x0 = normal(2, 3)
    found = trace(agent, x0, lambda points, t: Quadratic(A, points), 1)
    assert_close(found.states[-1].theta, 0.9 * x0, rtol=1e-6, atol=0.0)


def test_anpg_averages_noise_of_its_trajectories() -> None:
    """With F = 1 and gradients 1 + noise the error of w falls as the root of H, 4 times from 32 to 512.

    The error of 256 runs has a relative standard error of 4 %, so [2, 8] is more than 10 of them away.
    """
    errors = []
    for inner in (32, 512):
        noise = streams(range(256)).spread(torch.arange(inner)).normal(1, dtype=F64)
        agent = ANPG(inner=inner, fisher_max=1.0, fisher_min=1.0)
        found = trace(agent, torch.zeros(256, 1, dtype=F64), lambda p, t, n=noise: Copies(1 + n, torch.ones_like(n)), 1)
        w = -found.states[-1].theta / 0.1
        errors.append(float((w - 1).square().mean().sqrt()))
    assert 2 < errors[0] / errors[1] < 8


def test_npg_hm_has_the_momentum_of_harpg() -> None:
    """Exact on a quadratic, although its steps are others."""
    agent = NPGHM(gamma=Schedule(0.3, 0.5), eta=Schedule(1.0, 1.0, 0.05), inner=3, zeta=0.02)
    assert transport_error(agent) < 1e-12


def test_npg_hm_by_hand() -> None:
    """Fisher products at copies 1 and 2 of the iterate, the Hessian product at point 3, which lies on the step."""
    agent = NPGHM(gamma=Schedule(0.5), eta=Schedule(1.0, 1.0), inner=2, zeta=0.1)
    oracle = Copies(
        torch.tensor([[[4.0], [torch.nan], [torch.nan], [torch.nan]]], dtype=F64),
        torch.tensor([[[torch.nan], [3.0], [2.0], [torch.nan]]], dtype=F64),
    )
    found = trace(agent, torch.tensor([[1.0]], dtype=F64), lambda points, t: oracle, 2)

    def natural(d: float) -> float:
        return 0.1 * d - 0.1 * (2.0 * 0.1 * d - d)  # w_1 = zeta d; the average is over w_2 alone

    theta = 1.0 - 0.5 * natural(4.0)
    assert_close(found.states[1].theta, torch.tensor([[theta]], dtype=F64))
    d = (4.0 + 300.0 * (theta - 1.0)) / 3 + 4.0 * 2 / 3
    assert_close(found.metrics[1]["direction"], torch.tensor([[d]], dtype=F64))
    assert_close(found.states[2].theta, torch.tensor([[theta - 0.5 * natural(d)]], dtype=F64))
    points = found.points[1][0, :, 0]
    assert torch.equal(points[:3], torch.full((3,), theta, dtype=F64))
    assert theta < float(points[3]) < 1.0


@pytest.mark.parametrize(
    ("agent", "points", "products"),
    [
        (NPG(), 1, 0),
        (ANPG(inner=5), 5, 0),
        (NPGHM(inner=3), 5, 1),
        (NPGHM(inner=3, products=2), 6, 2),
        (NHARPG(products=3), 4, 3),
    ],
)
def test_trajectories_and_products_are_counted(agent: PolicyGradient, points: int, products: int) -> None:
    """Per iteration and episode of the estimator, 2 here; Fisher products are free, their trajectories are not."""
    mdp = TabularMDP.random(3, 2, seed=0, dtype=F64)
    problem = PolicyProblem(mdp, Linear(mdp.spec, bias=False), DISCOUNT, Estimator(2), evaluation_episodes=1)
    horizon = mdp.spec.horizon
    result = run(agent, problem, seeds=2, budget=3 * 2 * points * horizon + horizon, evaluations=1)
    assert result.iterations == 3
    assert result.spent.episodes.tolist() == [3 * 2 * points] * 2
    assert result.spent.env_steps.tolist() == [3 * 2 * points * horizon] * 2
    assert result.spent.hvps.tolist() == [3 * 2 * products] * 2


@pytest.mark.parametrize("agent", [NPG(), ANPG(), NPGHM()])
def test_functions_without_a_policy_are_refused(agent: PolicyGradient) -> None:
    with pytest.raises(ValueError, match=rf"^{agent.id} needs the Fisher information of a policy"):
        run(agent, ObjectiveProblem(Sphere(dim=3)), seeds=1, budget=10_000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NPG(damping=-0.1), r"damping = -0\.1 is not in \[0, inf\]"),
        (lambda: NPG(iterations=0), r"iterations = 0 is not in \[1, inf\]"),
        (lambda: NPG(gamma=Schedule(0.0)), r"gamma\.scale = 0\.0"),
        (lambda: ANPG(inner=1), r"inner = 1 is not in \[2, inf\]"),
        (lambda: ANPG(fisher_max=0.0), r"fisher_max = 0\.0"),
        (lambda: ANPG(fisher_min=-1.0), r"fisher_min = -1\.0"),
        (lambda: ANPG(fisher_max=1.0, fisher_min=2.0), r"fisher_min = 2\.0 is greater than fisher_max = 1\.0"),
        (lambda: NPGHM(inner=1), r"inner = 1"),
        (lambda: NPGHM(zeta=0.0), r"zeta = 0\.0 is not in \(0, inf\]"),
        (lambda: NPGHM(products=0), r"products = 0 is not in \[1, inf\]"),
        (lambda: NPGHM(eta=Schedule(2.0)), r"eta\.scale = 2\.0"),
    ],
)
def test_bad_configurations_are_refused(make: Callable[[], PolicyGradient], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
