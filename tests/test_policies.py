"""Policies on flat vectors against torch's own modules and distributions."""

import math
from dataclasses import replace

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, Int, jaxtyped
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal
from torch.testing import assert_close

from envs.core import Box, Discrete, EnvSpec
from envs.heads import Categorical, Gaussian, Greedy, deterministic_head, stochastic_head
from envs.policies import INITIALISATIONS, MLP, Linear, Network
from envs.random import Stream, streams

F64 = torch.float64


def spec(action: Discrete | Box, observations: int = 3) -> EnvSpec:
    bounds = ((-1.0,) * observations, (1.0,) * observations)
    return EnvSpec("Test-v0", "", "", *bounds, action=action, horizon=10, reset_draws=1)


DISCRETE, BOX = spec(Discrete(4)), spec(Box((-1.0, -1.0), (1.0, 1.0)))
POLICIES: dict[str, Network] = {
    "linear categorical": Linear(DISCRETE),
    "linear categorical without bias": Linear(DISCRETE, bias=False),
    "linear Gaussian": Linear(BOX),
    "mlp categorical": MLP(DISCRETE, (5, 7)),
    "mlp categorical without bias": MLP(DISCRETE, (5, 7), bias=False),
    "mlp Gaussian": MLP(BOX, (6,)),
    "mlp Gaussian without bias": MLP(BOX, (6, 5), bias=False),
}


@pytest.fixture(params=POLICIES, name="policy")
def _policy(request: pytest.FixtureRequest) -> Network:
    return POLICIES[request.param]


def random_params(policy: Network, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.7 * torch.randn(*shape, policy.dim, generator=generator, dtype=F64)


def random_data(policy: Network, *shape: int) -> tuple[Tensor, Tensor]:
    """Observations [*shape, O] and actions [*shape] or [*shape, A]."""
    generator = torch.Generator().manual_seed(1)
    obs = torch.randn(*shape, 3, generator=generator, dtype=F64)
    if isinstance(policy.head, Categorical):
        return obs, torch.randint(4, shape, generator=generator)
    return obs, 2 * torch.randn(*shape, 2, generator=generator, dtype=F64)


def distribution(policy: Network, params: Tensor, obs: Tensor) -> TorchCategorical | Independent:
    """torch's distribution at obs [M, O] for params [d], through torch's module."""
    module = policy.to_module(params)
    if isinstance(policy.head, Categorical):
        return TorchCategorical(logits=module(obs))
    return Independent(Normal(module(obs), params[-policy.head.size :].exp()), 1)


def test_dimensions() -> None:
    assert Linear(DISCRETE).dim == 3 * 4 + 4
    assert Linear(DISCRETE, bias=False).dim == 3 * 4
    assert Linear(BOX).dim == 3 * 2 + 2 + 2
    assert MLP(DISCRETE).dim == (3 * 32 + 32) + (32 * 32 + 32) + (32 * 4 + 4)
    assert MLP(BOX, (6, 5), bias=False).dim == 3 * 6 + 6 * 5 + 5 * 2 + 2
    assert MLP(BOX, (6,), head=deterministic_head(BOX.action)).dim == (3 * 6 + 6) + (6 * 2 + 2)


def test_the_flat_vector_is_that_of_torchs_module(policy: Network) -> None:
    params = random_params(policy)
    module = policy.to_module(params)
    assert torch.equal(nn.utils.parameters_to_vector(module.parameters()), params)
    assert torch.equal(policy.from_module(module), params)
    assert policy.from_module(module).requires_grad is False
    weights = policy.unpack(params)
    linears = [part for part in module.modules() if isinstance(part, nn.Linear)]
    for (weight, bias), linear in zip(weights.layers, linears, strict=True):
        assert torch.equal(weight[0].T, linear.weight)
        assert (bias is None) == (linear.bias is None)
        assert bias is None or torch.equal(bias[0, 0], linear.bias)
    assert torch.equal(weights.extra[0, 0], params[policy.dim - policy.head.extra :])


def test_outputs_are_those_of_torchs_module(policy: Network) -> None:
    params, (obs, _) = random_params(policy, 2, 3), random_data(policy, 2, 3, 11)
    found = policy.forward(policy.unpack(params), obs)
    assert found.shape == (2, 3, 11, policy.head.size)
    for r in range(2):
        for k in range(3):
            assert_close(found[r, k], policy.to_module(params[r, k])(obs[r, k]).detach(), rtol=1e-13, atol=1e-13)


def test_the_module_is_a_copy_and_trains_by_itself(policy: Network) -> None:
    params = random_params(policy)
    before, module = params.clone(), policy.to_module(params)
    module(torch.ones(3, dtype=F64)).sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1.0
    assert torch.equal(params, before)
    assert torch.equal(policy.from_module(module), before + 1.0)


def test_the_module_acts_greedily(policy: Network) -> None:
    params, (obs, _) = random_params(policy), random_data(policy, 1, 20)
    action = policy.to_module(params).act(obs[0])
    greedy = policy.greedy()
    expected, log_prob = greedy.sample(greedy.unpack(params[None]), obs, obs.new_empty(1, 20, 0))
    assert_close(action, expected[0], rtol=1e-13, atol=1e-13)
    assert torch.equal(log_prob, torch.zeros(1, 20, dtype=F64))
    mode = distribution(policy, params, obs[0]).mode
    assert_close(action, mode.detach(), rtol=1e-13, atol=1e-13)
    assert greedy.dim == policy.dim


def test_making_a_module_leaves_the_global_generator_alone(policy: Network) -> None:
    before = torch.get_rng_state()
    policy.to_module(random_params(policy))
    assert torch.equal(torch.get_rng_state(), before)


def test_log_probabilities_are_those_of_torchs_distributions(policy: Network) -> None:
    params, (obs, action) = random_params(policy, 2, 3), random_data(policy, 2, 3, 11)
    found = policy.log_prob(params, obs, action)
    assert found.shape == (2, 3, 11)
    for r in range(2):
        for k in range(3):
            expected = distribution(policy, params[r, k], obs[r, k]).log_prob(action[r, k])
            assert_close(found[r, k], expected.detach(), rtol=1e-12, atol=1e-12)


def test_a_sampled_action_comes_with_its_log_probability(policy: Network) -> None:
    params, (obs, _) = random_params(policy, 2), random_data(policy, 2, 50)
    noise = policy.head.noise(streams([0, 1]).spread(torch.arange(50)), policy.head.draws, 0, F64)
    action, log_prob = policy.sample(policy.unpack(params), obs, noise)
    assert_close(log_prob, policy.log_prob(params, obs, action), rtol=1e-12, atol=1e-12)


def test_logits_far_apart_stay_finite() -> None:
    policy = Linear(DISCRETE, bias=False)
    params = torch.zeros(1, 12, dtype=F64)
    params[0, 0] = 1e4
    obs, action = torch.ones(1, 4, 3, dtype=F64), torch.arange(4)[None]
    found = policy.log_prob(params, obs, action)
    assert_close(found, torch.tensor([[0.0, -1e4, -1e4, -1e4]], dtype=F64))


def test_first_and_second_derivatives(policy: Network) -> None:
    """By finite differences, all of them."""
    params, (obs, action) = random_params(policy, 2).requires_grad_(), random_data(policy, 2, 4)
    assert torch.autograd.gradcheck(lambda x: policy.log_prob(x, obs, action), (params,))
    assert torch.autograd.gradgradcheck(lambda x: policy.log_prob(x, obs, action), (params,))


def test_reverse_over_forward_is_the_hessian_vector_product(policy: Network) -> None:
    """Which is how `rl.estimators` differentiates, against torch's double reverse mode."""
    params, (obs, action) = random_params(policy, 1), random_data(policy, 1, 6)
    u = random_params(policy, 1, seed=2)

    def total(x: Tensor) -> Tensor:
        return policy.log_prob(x, obs, action).sum()

    with torch.autograd.forward_ad.dual_level():
        x = params.clone().requires_grad_()
        dual = torch.autograd.forward_ad.make_dual(x, u)
        tangent = torch.autograd.forward_ad.unpack_dual(total(dual)).tangent
        (found,) = torch.autograd.grad(tangent, x)
    expected = torch.autograd.functional.hvp(total, params, u)[1]
    assert_close(found, expected, rtol=1e-11, atol=1e-11)
    assert float(expected.norm()) > 1e-2


def test_sampled_discrete_actions_have_the_softmax_frequencies() -> None:
    """20000 draws; a right sampler fails the chi-square test for 1e-4 of the seeds, and this one is fixed."""
    policy = Linear(DISCRETE, bias=False)
    params, n = random_params(policy, 1), 20_000
    obs = torch.tensor([0.3, -1.0, 0.5], dtype=F64).expand(1, n, 3)
    noise = policy.head.noise(streams([5]).spread(torch.arange(n)), 1, 0, F64)
    action, _ = policy.sample(policy.unpack(params), obs, noise)
    probabilities = torch.softmax(params.view(4, 3) @ obs[0, 0], 0)
    counts = torch.bincount(action[0], minlength=4)
    assert stats.chisquare(counts.numpy(), (n * probabilities).numpy()).pvalue > 1e-4
    assert float(probabilities.min()) > 0.01


def test_sampled_real_actions_are_independent_normals() -> None:
    """20000 draws of two numbers: Kolmogorov-Smirnov each and their correlation, 1e-4 of the seeds fail each."""
    policy = Linear(BOX)
    params, n = random_params(policy, 1), 20_000
    obs = torch.tensor([0.3, -1.0, 0.5], dtype=F64).expand(1, n, 3)
    noise = policy.head.noise(streams([5]).spread(torch.arange(n)), 2, 0, F64)
    action, _ = policy.sample(policy.unpack(params), obs, noise)
    mean, std = distribution(policy, params[0], obs[0, :1]).mean[0].detach(), params[0, -2:].exp()
    standard = ((action[0] - mean) / std).numpy()
    for i in range(2):
        assert stats.kstest(standard[:, i], "norm").pvalue > 1e-4
    assert stats.pearsonr(standard[:, 0], standard[:, 1]).pvalue > 1e-4


def test_uniforms_at_the_ends_give_the_first_and_the_last_action() -> None:
    head = Categorical(4)
    noise = torch.tensor([[2.0**-24], [1 - 2.0**-24]])
    action, _ = head.sample(torch.zeros(2, 4), torch.zeros(2, 0), noise)
    assert action.tolist() == [0, 3]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", INITIALISATIONS)
def test_initialisations(name: str, bias: bool) -> None:
    """400 runs: the bounds are kept and approached, by 1 % (missed by chance: 0.995^14000 < 1e-30)."""
    policy = MLP(BOX, (5, 7), bias=bias, initialisation=name, head=Gaussian(2, log_std=-0.5))
    params = policy.init(streams(range(400)), F64)
    assert params.shape == (400, policy.dim)
    assert params.dtype == F64
    weights = policy.unpack(params)
    assert torch.equal(weights.extra, torch.full((400, 1, 2), -0.5, dtype=F64))
    for (fan_in, fan_out), (weight, b) in zip(policy.widths, weights.layers, strict=True):
        assert b is None or not b.any()
        if name in ("xavier-uniform", "torch-default"):
            bound = math.sqrt(6 / (fan_in + fan_out)) if name == "xavier-uniform" else 1 / math.sqrt(fan_in)
            assert 0.99 * bound < float(weight.max()) <= bound
            assert -bound <= float(weight.min()) < -0.99 * bound
        elif name == "orthogonal":
            gram = weight.mT @ weight if fan_in >= fan_out else weight @ weight.mT
            assert_close(gram, torch.eye(min(fan_in, fan_out), dtype=F64).expand_as(gram), rtol=0.0, atol=1e-12)
        elif name == "standard-normal":
            # A right sampler fails for 1e-4 of the seeds per layer.
            assert stats.kstest(weight.flatten().numpy(), "norm").pvalue > 1e-4
        else:
            assert name == "zeros"
            assert not weight.any()


def test_orthogonal_matrices_have_no_preferred_sign() -> None:
    """Haar measure: entries have mean 0; 5 standard errors of the mean of 4000 entries with variance 1/5, rate 6e-7."""
    policy = Linear(spec(Discrete(5), observations=5), bias=False, initialisation="orthogonal")
    first = policy.init(streams(range(4000)), F64)[:, 0]
    assert abs(float(first.mean())) < 5 * math.sqrt(0.2 / 4000)


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_a_run_starts_the_same_alone_and_among_others(name: str) -> None:
    policy = MLP(BOX, (3, 3), initialisation=name)
    seeds = [4, 9, 2]
    together = policy.init(streams(seeds))
    for r, seed in enumerate(seeds):
        assert torch.equal(together[r : r + 1], policy.init(streams([seed])))
    if name != "zeros":
        assert not torch.equal(together[0], together[1])
        (first, _), (second, _), _ = policy.unpack(together).layers
        assert not torch.equal(first, second)


def test_both_precisions_start_at_the_same_numbers() -> None:
    policy = MLP(DISCRETE, (5,))
    low, high = policy.init(streams([3]), torch.float32), policy.init(streams([3]), F64)
    assert low.dtype == torch.float32
    assert_close(low.double(), high, rtol=1e-6, atol=1e-7)


def test_heads_follow_the_action_space() -> None:
    assert stochastic_head(DISCRETE.action) == Categorical(4)
    assert stochastic_head(BOX.action) == Gaussian(2)
    assert deterministic_head(DISCRETE.action) == Greedy(4, discrete=True)
    assert deterministic_head(BOX.action) == Greedy(2, discrete=False)
    assert Gaussian(2).greedy() == Greedy(2, discrete=False, unused=2)
    assert Greedy(2, discrete=False).greedy() == Greedy(2, discrete=False)


def test_a_deterministic_policy_has_no_log_probability() -> None:
    policy = Linear(DISCRETE).greedy()
    obs, action = random_data(Linear(DISCRETE), 1, 2)
    with pytest.raises(TypeError, match="deterministic policy has no log-probability"):
        policy.log_prob(random_params(policy, 1), obs, action)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MLP(DISCRETE, head=Gaussian(4)),
            r"head = Gaussian\(size=4, .* does not fit the Discrete actions of Test-v0",
        ),
        (
            lambda: MLP(BOX, head=Categorical(2)),
            r"head = Categorical\(size=2\) does not fit the Box actions of Test-v0",
        ),
        (lambda: MLP(DISCRETE, head=Categorical(3)), r"head\.size = 3 must be 4 for the actions of Test-v0"),
        (lambda: MLP(BOX, head=Gaussian(1)), r"head\.size = 1 must be 2 for the actions of Test-v0"),
        (
            lambda: MLP(BOX, head=Greedy(2, discrete=True)),
            r"head = Greedy\(size=2, discrete=True.* does not fit the Box",
        ),
        (
            lambda: MLP(DISCRETE, head=Greedy(4, discrete=False)),
            r"head = Greedy\(size=4, discrete=False.* does not fit the Disc",
        ),
        (lambda: MLP(DISCRETE, (4, 0)), r"hidden = \(4, 0\) must hold widths >= 1"),
        (lambda: Linear(DISCRETE, (4,)), r"hidden = \(4,\) must be empty for a Linear policy"),
        (lambda: MLP(DISCRETE, initialisation="magic"), "initialisation = 'magic' is not one of xavier-uniform, "),
    ],
)
def test_bad_policies_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_vector_of_the_wrong_length_is_refused(policy: Network) -> None:
    with pytest.raises(ValueError, match=f"params have {policy.dim + 1} entries, {type(policy).__name__} needs"):
        policy.unpack(torch.zeros(1, policy.dim + 1))
    for shape in ((policy.dim - 1,), (policy.dim + 1,), (1, policy.dim)):
        with pytest.raises(ValueError, match=rf"params has shape .*, expected \[{policy.dim}\]"):
            policy.to_module(torch.zeros(shape))


def test_a_policy_is_plain_data() -> None:
    policy = MLP(DISCRETE, (5,))
    assert replace(policy, head=policy.head.greedy()) == policy.greedy()
    assert policy == MLP(DISCRETE, (5,))
    assert hash(policy) == hash(MLP(DISCRETE, (5,)))


@jaxtyped(typechecker=beartype)
def sampled_discrete(
    policy: Network, params: Float[Tensor, "R K d"], obs: Float[Tensor, "R K M O"], stream: Stream
) -> tuple[Int[Tensor, "R K M"], Float[Tensor, "R K M"]]:
    return policy.sample(policy.unpack(params), obs, policy.head.noise(stream, 1, 0, obs.dtype))


@jaxtyped(typechecker=beartype)
def sampled_real(
    policy: Network, params: Float[Tensor, "R K d"], obs: Float[Tensor, "R K M O"], stream: Stream
) -> tuple[Float[Tensor, "R K M 2"], Float[Tensor, "R K M"]]:
    return policy.sample(policy.unpack(params), obs, policy.head.noise(stream, 2, 0, obs.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_shapes_and_types(policy: Network, dtype: torch.dtype) -> None:
    sampled = sampled_discrete if isinstance(policy.head, Categorical) else sampled_real
    stream = streams([0, 1]).spread(torch.arange(12).view(3, 4))
    params, obs = random_params(policy, 2, 3).to(dtype), random_data(policy, 2, 3, 4)[0].to(dtype)
    action, log_prob = sampled(policy, params, obs, stream)
    assert log_prob.dtype == dtype
    assert action.dtype == (torch.int64 if isinstance(policy.head, Categorical) else dtype)
