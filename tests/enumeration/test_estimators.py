"""Gradient and Hessian estimators against exact derivatives, by enumeration of every trajectory of small processes.

Nothing here is random in the statistical sense: an expectation is a finite sum over all trajectories, or over all
pairs and triples of them where the baseline needs other episodes. Everything is float64; f = -J.
"""

from dataclasses import replace
from itertools import product

import pytest
import torch
from enumeration import DISCOUNT, INSTANCES, Instance, direction, enumerate_batches, mean, oracle, other_point
from torch import Tensor
from torch.testing import assert_close

from envs.core import Cost
from envs.policies import Linear
from envs.random import streams
from envs.rollout import BLOCK, Backend, Trajectory
from rl import (
    Estimator,
    TrajectoryOracle,
    causal,
    linear_baseline,
    no_baseline,
    official,
    over_steps,
    paper,
    time_baseline,
)
from rl.baselines import Baseline
from rl.estimators import HVPWeights, rewards_to_go

BATCHES = [(no_baseline, 1), (no_baseline, 2), (time_baseline, 2), (linear_baseline, 2)]
"""Baselines and the episodes E to enumerate jointly."""
backends = pytest.mark.parametrize("backend", ["plain", "fused"])
TERMS = [pytest.param(baseline, episodes, id=f"{baseline.__name__}-{episodes}") for baseline, episodes in BATCHES]


def hvps(case: Instance, estimator: Estimator, u: Tensor, backend: Backend = "auto") -> tuple[Tensor, Tensor]:
    """Every B u [P^E, 1, d] with its probability."""
    batch, probabilities = enumerate_batches(case, estimator.episodes)
    return oracle(case, batch, estimator, backend).hvp(u.expand(len(batch.mask), 1, -1)), probabilities


def total_variance(samples: Tensor, probabilities: Tensor) -> float:
    """E |x - E x|^2."""
    return float(probabilities @ (samples[:, 0] - mean(samples, probabilities)).square().sum(-1))


def test_the_trajectories_are_all_there_are(case: Instance) -> None:
    """Probabilities sum to one, and the probability-weighted return is the exact one."""
    batch, probabilities = enumerate_batches(case, 1)
    returns = rewards_to_go(batch.reward, DISCOUNT)[:, 0, 0, 0]
    assert_close(probabilities.sum().item(), 1.0, rtol=1e-12, atol=0.0)
    assert_close(-(probabilities @ returns), case.objective(case.theta), rtol=1e-12, atol=1e-12)


@backends
@pytest.mark.parametrize(("baseline", "episodes"), TERMS)
def test_the_gradient_is_unbiased(case: Instance, baseline: Baseline, episodes: int, backend: Backend) -> None:
    batch, probabilities = enumerate_batches(case, episodes)
    found = oracle(case, batch, Estimator(episodes, baseline), backend).gradient()
    assert_close(mean(found, probabilities), case.gradient(), rtol=0.0, atol=1e-8)
    assert float(case.gradient().norm()) > 1e-2


@backends
@pytest.mark.parametrize("form", [paper, causal])
@pytest.mark.parametrize(("baseline", "episodes"), TERMS)
def test_the_hessian_vector_product_is_unbiased(
    case: Instance, baseline: Baseline, episodes: int, form: HVPWeights, backend: Backend
) -> None:
    u = direction(case)
    found, probabilities = hvps(case, Estimator(episodes, baseline, form), u, backend)
    assert_close(mean(found, probabilities), case.hessian() @ u, rtol=0.0, atol=1e-8)
    assert float((case.hessian() @ u).norm()) > 1e-2


def test_three_episodes_with_the_linear_baseline() -> None:
    """4096 triples: with two others, the regression is no longer an interpolation of one of them."""
    case = INSTANCES["2 states, 2 steps"]
    batch, probabilities = enumerate_batches(case, 3)
    u, estimator = direction(case), Estimator(3, linear_baseline, causal)
    found = oracle(case, batch, estimator)
    assert_close(mean(found.gradient(), probabilities), case.gradient(), rtol=0.0, atol=1e-8)
    product = found.hvp(u.expand(len(batch.mask), 1, -1))
    assert_close(mean(product, probabilities), case.hessian() @ u, rtol=0.0, atol=1e-8)


def without_cross_term(advantage: Tensor, c: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros_like(advantage)


@pytest.mark.parametrize("wrong", [official, without_cross_term, lambda *parts: -paper(*parts)])
def test_wrong_cross_terms_are_far_off(case: Instance, wrong: HVPWeights) -> None:
    """So the check above can fail: these are off by more than 10 % of the product."""
    u = direction(case)
    found, probabilities = hvps(case, Estimator(hvp=wrong), u)
    exact = case.hessian() @ u
    assert float((mean(found, probabilities) - exact).norm() / exact.norm()) > 0.1


@pytest.mark.parametrize("form", [paper, causal])
def test_the_expected_hessian_is_symmetric(case: Instance, form: HVPWeights) -> None:
    d = len(case.theta)
    columns = []
    for i in range(d):
        found, probabilities = hvps(case, Estimator(hvp=form), torch.eye(d, dtype=torch.float64)[i])
        columns.append(mean(found, probabilities))
    H = torch.stack(columns, -1)
    assert_close(H, H.T, rtol=0.0, atol=1e-10)
    assert_close(H, case.hessian(), rtol=0.0, atol=1e-8)


@backends
@pytest.mark.parametrize(("baseline", "episodes"), TERMS)
def test_the_importance_weighted_gradient_is_unbiased(
    case: Instance, baseline: Baseline, episodes: int, backend: Backend
) -> None:
    """Trajectories of theta, the gradient at theta'; without the weights it is off by more than 10 %."""
    batch, probabilities = enumerate_batches(case, episodes)
    there = replace(case, theta=other_point(case))
    at = there.theta.expand(len(batch.mask), 1, -1)
    exact = there.gradient()
    found = mean(oracle(case, batch, Estimator(episodes, baseline), backend).gradient(at), probabilities)
    assert_close(found, exact, rtol=0.0, atol=1e-8)
    unweighted = mean(oracle(there, batch, Estimator(episodes, baseline), backend).gradient(), probabilities)
    assert float((unweighted - exact).norm() / exact.norm()) > 0.1


def test_importance_weights_are_likelihood_ratios(case: Instance) -> None:
    """Their mean is one, and theta' weighted by them is the distribution at theta'."""
    batch, probabilities = enumerate_batches(case, 1)
    there = replace(case, theta=other_point(case))
    at = there.theta.expand(len(batch.mask), 1, -1)
    weights = oracle(case, batch, Estimator()).log_weights(at).exp()[:, 0, 0]
    assert_close(probabilities * weights, enumerate_batches(there, 1)[1], rtol=1e-10, atol=1e-14)
    here = oracle(case, batch, Estimator()).log_weights(case.theta.expand_as(at))
    assert_close(here, torch.zeros_like(here), rtol=0.0, atol=1e-12)


def test_truncated_weights_are_cut_and_biased() -> None:
    case = INSTANCES["3 states, 3 steps"]
    batch, probabilities = enumerate_batches(case, 1)
    there = replace(case, theta=other_point(case))
    at = there.theta.expand(len(batch.mask), 1, -1)
    cut = oracle(case, batch, Estimator(weight_limit=1.1))
    free = oracle(case, batch, Estimator())
    weights = free.log_weights(at).exp()
    assert float(weights.max()) > 1.2
    assert_close(cut.log_weights(at).exp(), weights.clamp(max=1.1), rtol=1e-12, atol=0.0)
    assert float((mean(cut.gradient(at), probabilities) - there.gradient()).norm()) > 1e-3


@pytest.mark.parametrize("baseline", [no_baseline, time_baseline])
def test_differences_converge_to_the_causal_product(case: Instance, baseline: Baseline) -> None:
    """Trajectory by trajectory, not only in the mean: the error of a central difference falls as its square."""
    batch, _ = enumerate_batches(case, 2)
    u = direction(case).expand(len(batch.mask), 1, -1)
    exact = oracle(case, batch, Estimator(2, baseline, causal)).hvp(u)
    errors = [
        (oracle(case, batch, Estimator(2, baseline, difference=half)).hvp(u) - exact).norm() for half in (1e-2, 1e-3)
    ]
    assert_close(errors[0] / errors[1], torch.tensor(100.0, dtype=torch.float64), rtol=0.01, atol=0.0)


@backends
def test_the_fisher_information_is_unbiased(case: Instance, backend: Backend) -> None:
    """F = sum_t discount^t sum_s P(s_t = s) sum_a pi(a | s) s s', by walking through the process."""
    batch, probabilities = enumerate_batches(case, 1)
    pi, states, F = case.probabilities(case.theta), case.mdp.rho, torch.zeros(len(case.theta), len(case.theta))
    for t in range(case.horizon):
        for s, a in product(range(len(states)), range(2)):
            if s != case.absorbing:
                score = torch.zeros_like(case.mdp.r.T)
                score[:, s] = torch.nn.functional.one_hot(torch.tensor(a), 2) - pi[s]
                F = F + DISCOUNT**t * states[s] * pi[s, a] * torch.outer(score.flatten(), score.flatten())
        states = torch.einsum("s,sa,sat->t", states, pi, case.mdp.P)
    v = direction(case)
    found = oracle(case, batch, Estimator(), backend).fisher_vp(v.expand(len(batch.mask), 1, -1))
    assert_close(mean(found, probabilities), F @ v, rtol=0.0, atol=1e-10)
    assert float((F @ v).norm()) > 1e-2


def test_the_official_form_is_the_published_code() -> None:
    """Its loss and product of two means, written as it is there, on a batch of episodes of unequal length."""
    case = INSTANCES["3 states, one of them the end"]
    batch, _ = enumerate_batches(case, 2)
    batch = batch._replace(**{name: part[5:6] for name, part in batch._asdict().items() if name != "cost"})
    u, theta = direction(case), case.theta.clone().requires_grad_()
    mask = batch.mask[0, 0]
    log_prob = case.policy.log_prob(theta, batch.obs[0, 0].flatten(0, 1), batch.action[0, 0].flatten()).view_as(mask)
    to_go = rewards_to_go(batch.reward[0, 0], DISCOUNT)
    new_loss, log_probs_loss = -(log_prob * to_go)[mask].mean(), -log_prob[mask].mean()
    (gradient,) = torch.autograd.grad(new_loss, theta, create_graph=True)
    (other,) = torch.autograd.grad(log_probs_loss, theta, retain_graph=True)
    (curvature,) = torch.autograd.grad(gradient @ u, theta)
    estimator = Estimator(2, hvp=official, average=over_steps)
    found = oracle(case, batch, estimator).hvp(u[None, None])[0, 0]
    assert mask.sum(-1).unique().numel() == 2, "unequal lengths"
    assert_close(found, curvature + gradient.detach() * (other @ u), rtol=1e-12, atol=1e-14)


def test_averaging_over_steps_changes_the_scale_only() -> None:
    case = INSTANCES["3 states, one of them the end"]
    batch, _ = enumerate_batches(case, 2)
    each, steps = oracle(case, batch, Estimator(2)), oracle(case, batch, Estimator(2, average=over_steps))
    length = batch.mask.sum((-2, -1)).double()[..., None]
    assert_close(steps.gradient() * length, 2 * each.gradient(), rtol=1e-12, atol=1e-14)


def test_copies_of_a_point_are_pooled() -> None:
    """Two points that are the same, with one episode each, are one point with two."""
    case = INSTANCES["2 states, 3 steps"]
    pairs, _ = enumerate_batches(case, 2)
    apart = Trajectory._make((*(part.transpose(1, 2) for part in pairs[:-1]), pairs.cost))
    params = case.theta.expand(len(pairs.mask), 2, -1)
    estimator, u = Estimator(2, time_baseline, causal), direction(case).expand(len(pairs.mask), 1, -1)
    pooled = TrajectoryOracle.of(case.policy, params, apart, DISCOUNT, estimator).at_point(0, copies=2)
    whole = oracle(case, pairs, estimator)
    assert torch.equal(pooled.gradient(), whole.gradient())
    assert torch.equal(pooled.hvp(u), whole.hvp(u))
    assert torch.equal(pooled.log_weights(u), whole.log_weights(u))


def test_causal_and_baselined_products_have_less_variance() -> None:
    """Exact variances of the mean of two episodes on one process, summed over the coordinate directions u."""
    case = INSTANCES["2 states, 3 steps"]
    variance = {}
    for form, baseline in product([paper, causal], [no_baseline, time_baseline]):
        units = torch.eye(len(case.theta), dtype=torch.float64)
        variance[form, baseline] = sum(total_variance(*hvps(case, Estimator(2, baseline, form), u)) for u in units)
    assert variance[causal, time_baseline] < 0.5 * variance[paper, no_baseline]
    assert variance[causal, no_baseline] < variance[paper, no_baseline]
    assert variance[causal, time_baseline] < variance[causal, no_baseline]
    assert variance[causal, time_baseline] < variance[paper, time_baseline]


def test_a_baseline_lowers_the_variance_of_the_gradient() -> None:
    case = INSTANCES["3 states, 3 steps"]
    batch, probabilities = enumerate_batches(case, 2)
    plain, baselined = (
        total_variance(oracle(case, batch, Estimator(2, baseline)).gradient(), probabilities)
        for baseline in (no_baseline, time_baseline)
    )
    assert baselined < 0.5 * plain


def one_path(case: Instance, steps: list[tuple[int, int]], rewards: list[float], time: int) -> Trajectory:
    """One run, point and episode, [1, 1, 1, time]."""
    s, a = torch.tensor(steps).T
    mask = (torch.arange(time) < len(steps))[None, None, None]
    obs, action, reward = (
        torch.zeros(time, 2).double(),
        torch.zeros(time, dtype=torch.int64),
        torch.zeros(time).double(),
    )
    obs[: len(steps)] = torch.nn.functional.one_hot(s, 2).double()
    action[: len(steps)], reward[: len(steps)] = a, torch.tensor(rewards, dtype=torch.float64)
    shaped = [part[None, None, None] for part in (obs, action, reward * 0, reward)]
    return Trajectory(*shaped, ~mask & mask, ~mask & mask, mask, obs[None, None, None, 0], Cost.zeros(1))


def scores(case: Instance, steps: list[tuple[int, int]]) -> list[Tensor]:
    """grad log pi(a | s) of each step: (1 at the action - pi) in the row of the state."""
    pi = case.probabilities(case.theta)
    found = []
    for s, a in steps:
        score = torch.zeros(2, 2, dtype=torch.float64)
        score[:, s] = -pi[s]
        score[a, s] += 1.0
        found.append(score.flatten())
    return found


def test_the_discount_counts_from_time_zero_and_sums_over_steps() -> None:
    """g = sum_t (sum_{h >= t} gamma^h r_h) s_t by hand: not gamma^(h - t), and not a mean over the steps."""
    case, steps = INSTANCES["2 states, 3 steps"], [(0, 1), (1, 0), (1, 1)]
    s0, s1, s2 = scores(case, steps)
    found = oracle(case, one_path(case, steps, [1.0, 2.0, 4.0], 5), Estimator()).gradient()[0, 0]
    to_go = [1 + 2 * DISCOUNT + 4 * DISCOUNT**2, 2 * DISCOUNT + 4 * DISCOUNT**2, 4 * DISCOUNT**2]
    assert_close(found, -(to_go[0] * s0 + to_go[1] * s1 + to_go[2] * s2), rtol=1e-13, atol=1e-14)


def batch_of(*singles: Trajectory) -> Trajectory:
    """The episodes side by side along E."""
    parts = zip(*(single[:-1] for single in singles), strict=True)
    return Trajectory(*(torch.cat(part, 2) for part in parts), Cost.zeros(1))


def some_paths(case: Instance) -> list[Trajectory]:
    """Episodes of 1, 3 and 2 steps."""
    return [
        one_path(case, [(0, 1)], [2.0], 3),
        one_path(case, [(1, 0), (0, 0), (1, 1)], [1.0, -1.0, 3.0], 3),
        one_path(case, [(0, 0), (1, 1)], [0.5, 1.5], 3),
    ]


@pytest.mark.parametrize("form", [paper, causal])
def test_averages_are_over_episodes_not_steps(form: HVPWeights) -> None:
    case = INSTANCES["2 states, 3 steps"]
    singles, u = some_paths(case), direction(case)[None, None]
    each = [oracle(case, single, Estimator(hvp=form)) for single in singles]
    together = oracle(case, batch_of(*singles), Estimator(3, hvp=form))
    assert_close(together.gradient(), sum(one.gradient() for one in each) / 3, rtol=1e-13, atol=1e-14)
    assert_close(together.hvp(u), sum(one.hvp(u) for one in each) / 3, rtol=1e-13, atol=1e-14)


def failing(single: Trajectory, bad: float, field: str) -> Trajectory:
    value = getattr(single, field).clone()
    value[0, 0, 0, 1] = bad
    return single._replace(**{field: value})


@backends
@pytest.mark.parametrize("baseline", [no_baseline, time_baseline, linear_baseline])
@pytest.mark.parametrize("field", ["obs", "reward"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_failed_episodes_do_not_count(baseline: Baseline, field: str, bad: float, backend: Backend) -> None:
    """Neither in the mean nor in the baseline of the others."""
    case = INSTANCES["2 states, 3 steps"]
    short, long, other = some_paths(case)
    estimator, u = Estimator(3, baseline, causal), direction(case)[None, None]
    mixed = oracle(case, batch_of(short, failing(long, bad, field), other), estimator, backend)
    healthy = oracle(case, batch_of(short, other), estimator)
    assert mixed.valid.tolist() == [[[True, False, True]]]
    assert_close(mixed.gradient(), healthy.gradient(), rtol=1e-13, atol=1e-14)
    assert_close(mixed.hvp(u), healthy.hvp(u), rtol=1e-13, atol=1e-14)


def test_without_any_episode_left_the_estimates_are_nan() -> None:
    case = INSTANCES["2 states, 3 steps"]
    _, long, other = some_paths(case)
    dead = oracle(
        case, batch_of(failing(long, float("nan"), "obs"), failing(other, float("inf"), "reward")), Estimator(2)
    )
    assert dead.gradient().isnan().all()
    assert dead.hvp(direction(case)[None, None]).isnan().all()


@backends
@pytest.mark.parametrize("form", [paper, causal])
def test_steps_outside_the_mask_do_not_matter(form: HVPWeights, backend: Backend) -> None:
    """Padding leaves both estimates as they are, to the bit where whole blocks are added.

    The policy has a bias: it has a score where the observation is 0, as it is in the padding.
    """
    case, steps, rewards = INSTANCES["2 states, 3 steps"], [(0, 1), (1, 0)], [1.0, 2.0]
    policy = Linear(case.mdp.spec)
    theta, u = (streams([seed]).normal(policy.dim, dtype=torch.float64)[:, None] for seed in (0, 1))
    exact, short, longer = (
        TrajectoryOracle.of(policy, theta, one_path(case, steps, rewards, time), DISCOUNT, Estimator(hvp=form), backend)
        for time in (2, BLOCK, 3 * BLOCK)
    )
    assert torch.equal(short.gradient(), longer.gradient())
    assert torch.equal(short.hvp(u), longer.hvp(u))
    assert_close(short.gradient(), exact.gradient(), rtol=1e-13, atol=1e-14)
    assert_close(short.hvp(u), exact.hvp(u), rtol=1e-13, atol=1e-14)


def test_one_product_is_charged_for_each_trajectory() -> None:
    """E for every point asked, through the oracle of one point as well; gradients are free of it."""
    case = INSTANCES["2 states, 3 steps"]
    batch = batch_of(*some_paths(case))
    two_points = Trajectory(*(part.expand(2, 2, *part.shape[2:]) for part in batch[:-1]), Cost.zeros(2))
    found = TrajectoryOracle.of(case.policy, case.theta.expand(2, 2, -1), two_points, DISCOUNT, Estimator(3))
    found.gradient()
    assert found.charged == []
    found.hvp(direction(case).expand(2, 2, -1))
    found.at_point(1).hvp(direction(case).expand(2, 1, -1))
    assert [cost.hvps.tolist() for cost in found.charged] == [[6, 6], [3, 3]]
    assert all(int(part.sum()) == 0 for cost in found.charged for part in cost._replace(hvps=cost.hvps * 0))


def test_the_oracle_of_one_point_is_that_of_the_batch() -> None:
    case = INSTANCES["2 states, 3 steps"]
    short, long, other = some_paths(case)
    points = [batch_of(short, long), batch_of(other, long), batch_of(long, other)]
    batch = Trajectory(*(torch.cat(parts, 1) for parts in zip(*(p[:-1] for p in points), strict=True)), Cost.zeros(1))
    params = torch.stack([case.theta, 2 * case.theta, -case.theta])[None]
    found = TrajectoryOracle.of(case.policy, params, batch, DISCOUNT, Estimator(2, time_baseline, causal))
    u = direction(case).expand(1, 3, -1)
    for k in range(3):
        point = found.at_point(k)
        assert_close(point.gradient(), found.gradient()[:, k : k + 1], rtol=1e-13, atol=1e-14)
        assert_close(point.hvp(u[:, :1]), found.hvp(u)[:, k : k + 1], rtol=1e-13, atol=1e-14)


def test_linear_baseline_is_the_ridge_regression_of_the_others() -> None:
    """Solved again in the test, by least squares on the features written out, for episodes of different lengths."""
    case = INSTANCES["2 states, 3 steps"]
    batch = batch_of(*some_paths(case))
    to_go = rewards_to_go(batch.reward, DISCOUNT)
    found = linear_baseline(batch, to_go, DISCOUNT)[0, 0]
    mask, time = batch.mask[0, 0], torch.arange(3, dtype=torch.float64)
    for i in range(3):
        rows, targets = [], []
        for j, t in product(range(3), range(3)):
            if j != i and mask[j, t]:
                obs, clock = batch.obs[0, 0, j, t], time[t] / 100
                rows.append(torch.cat((obs, obs**2, torch.stack((clock, clock**2, clock**3, torch.ones(()).double())))))
                targets.append(sum(DISCOUNT ** (h - t) * batch.reward[0, 0, j, h] for h in range(int(t), 3)))
        X, y = torch.stack(rows), torch.stack(targets)
        weights = torch.linalg.solve(X.T @ X + 1e-5 * torch.eye(8, dtype=torch.float64), X.T @ y)
        for t in range(3):
            if mask[i, t]:
                obs, clock = batch.obs[0, 0, i, t], time[t] / 100
                x = torch.cat((obs, obs**2, torch.stack((clock, clock**2, clock**3, torch.ones(()).double()))))
                assert_close(found[i, t], DISCOUNT**t * (x @ weights), rtol=1e-9, atol=1e-9)


def test_time_baseline_is_the_mean_of_the_others_still_running() -> None:
    case = INSTANCES["2 states, 3 steps"]
    batch = batch_of(*some_paths(case))  # of 1, 3 and 2 steps
    G = rewards_to_go(batch.reward, DISCOUNT)[0, 0]
    found = time_baseline(batch, G[None, None], DISCOUNT)[0, 0]
    assert_close(found[0, 0], (G[1, 0] + G[2, 0]) / 2)
    assert_close(found[1, 1], G[2, 1])
    assert float(found[1, 2]) == 0.0  # alone at the third step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": 0}, "episodes = 0 must be >= 1"),
        ({"episodes": 1, "baseline": time_baseline}, "episodes = 1 must be >= 2 for baseline time_baseline"),
        ({"episodes": 1, "baseline": linear_baseline}, "episodes = 1 must be >= 2 for baseline linear_baseline"),
    ],
)
def test_bad_estimators_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Estimator(**arguments)
