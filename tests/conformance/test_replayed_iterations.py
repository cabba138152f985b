"""An iteration that is recorded once and replayed does what the loop does: on a GPU, this is a CUDA graph.

There is none here, so a recorder of tensor operations stands in for it: the loop runs as on a GPU, on tensors without
numbers, and one iteration is written down. That list of operations is then carried out with numbers on the CPU, beside
the loop itself. What changes from iteration to iteration and is no tensor stays as it was when recorded, as in a CUDA
graph; a look at a tensor's numbers or a copy from the host is an error, as there.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_no_host_synchronisation import AGENTS, META, ON_THE_HOST, on_meta
from test_optimizers import CASES
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import envs
import experiments.asked
import experiments.cuda_graphs
import experiments.loop
import rl
from envs.algorithm import Algorithm
from envs.random import Stream, streams
from experiments.cuda_graphs import WARM_UP, Carry, carried
from experiments.loop import Loop, run
from experiments.objective_problem import ObjectiveProblem
from experiments.policy_problem import PolicyProblem
from experiments.problems import Problem
from zeroth_order import ALGORITHMS, CBO, Ackley, FederatedOptimizer, ZoRD
from zeroth_order.cbo import constraints
from zeroth_order.evolution import selection

CPU, F64 = torch.device("cpu"), torch.float64
SEEDS = [3, 1, 2]
REPLAYS = 3
POSITIONS = [0, 20, 40, 60, 80, 100, 200, 400, 800, 100_000]
"""Some of them are passed in replayed iterations, for most algorithms."""
ProblemOn = Callable[[torch.device], Problem]
OTHERS = ("cbo in batches", "cbo, constrained", "mirror-cbo, simplex", "snes, small population")
CENTRAL = {
    name: case
    for name, case in CASES.items()
    if name in (*ALGORITHMS, *OTHERS) and not isinstance(case, (*ON_THE_HOST, FederatedOptimizer))
}
"""One configuration of each optimizer, and a few more."""


def policy_problem(device: torch.device) -> Problem:
    env = envs.ENVS["CartPole-v1"].create(device, F64)
    env = replace(env, spec=replace(env.spec, horizon=2))
    return PolicyProblem(env, envs.MLP(env.spec, (2,)), 0.99, rl.Estimator(2, rl.time_baseline))


def objective_problem(device: torch.device) -> Problem:
    return ObjectiveProblem(Ackley(5), place=device)


def loop_on(device: torch.device, algorithm: Algorithm, problem: ProblemOn, root: Stream) -> Loop:
    """With `root` as its stream: whether seeds are negative is looked at once, before iterations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.loop, "streams", lambda *_: root)
        patch.setattr(experiments.loop, "configuration_of", lambda *_: {})
        return Loop(algorithm, problem(device), SEEDS, 100_000, POSITIONS, None, False)


def iterate(loop: Loop, times: int) -> list[Any]:
    """Iterations as they are, a second each; returns what the last one began with."""
    before: list[Any] = []
    for _ in range(times):
        before = pytree.tree_leaves(carried(loop))
        loop.iterate()
        loop.wall += 1.0
    return before


class NoCopies(TorchDispatchMode):
    """Refuses copies from the host, which a CUDA graph cannot record."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[function is torch.ops.aten.copy_.default]
            assert source.device == result.device, "a copy from the host"
        return result


def recorded(algorithm: Algorithm, problem: ProblemOn) -> GraphModule:
    """The operations of an iteration as on a GPU, made to be carried out on the CPU."""
    root, loop = on_meta(len(SEEDS)), None
    constants = [(root.seeds, torch.tensor(SEEDS)), (root.lanes, torch.zeros((), dtype=torch.int64))]

    def tensor(*data: Any, device: torch.device = CPU, **kwargs: Any) -> Tensor:
        constants.append((made(*data, device=device, **kwargs), made(*data, **kwargs)))
        return constants[-1][0]

    made = torch.tensor
    for cached in (selection.table, constraints._vector):
        cached.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "tensor", tensor)
        loop = loop_on(META, algorithm, problem, root)
        carry = Carry(loop, iterate(loop, WARM_UP))
    with NoCopies():
        carry.iteration(carry.places)
    graph = make_fx(lambda places: carry.iteration(places))(carry.places)
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            held = getattr(graph, node.target)
            setattr(graph, node.target, next((number for meta, number in constants if meta is held), held))
        elif "device" in node.kwargs:
            node.kwargs = node.kwargs | {"device": CPU}
    graph.recompile()
    return graph


def check_replays(algorithm: Algorithm, problem: ProblemOn) -> None:
    """Replays leave what the loop's own iterations leave."""
    with torch.no_grad():
        graph = recorded(algorithm, problem)
        loop, plain = (loop_on(CPU, algorithm, problem, streams(SEEDS)) for _ in range(2))
        carry = Carry(loop, iterate(loop, WARM_UP))
        iterate(plain, WARM_UP)
        places: list[Tensor] = carry.places
        for _ in range(REPLAYS):
            places = [place.clone() for place in graph(places)]
            places[-1] += 1.0  # the host's part: the time
            iterate(plain, 1)
            carry.put(places)
            torch.testing.assert_close(seen(loop), seen(plain), rtol=1e-7, atol=1e-9, equal_nan=True)


def seen(loop: Loop) -> list[Tensor]:
    """What an iteration left, as tensors, but for the slot of a record that is never read."""
    state, ledger, record, iteration, wall = carried(loop)
    slots = [part[..., :-1] for part in loop.record.pack().values()]
    leaves = pytree.tree_leaves([state, ledger, iteration, wall, slots, record["_params"][:, :-1]])
    exact = {float: F64}
    return [torch.as_tensor(leaf, dtype=exact.get(type(leaf))) for leaf in leaves if not isinstance(leaf, str)]


@pytest.mark.parametrize("name", ["reinforce", "n-mpg", "n-pg-igt", "n-harpg", "npg", "npg-hm"])
def test_replayed_iterations_of_an_agent_are_the_loops(name: str) -> None:
    check_replays(AGENTS[name], policy_problem)


@pytest.mark.parametrize("name", [name for name, case in CENTRAL.items() if case.uniform])
def test_replayed_iterations_of_an_optimizer_are_the_loops(name: str) -> None:
    check_replays(CENTRAL[name], objective_problem)


def test_an_optimizer_of_a_policy() -> None:
    check_replays(CBO(particles=3), policy_problem)


def test_a_recorded_iteration_holds_on_to_what_changes_outside_of_tensors() -> None:
    class Counting(CBO):
        """Its steps depend on a number that is not in the state."""

        asked = 0

        def ask(self, state: Any, stream: Stream) -> tuple[Tensor, Any]:
            type(self).asked += 1
            points, state = super().ask(state, stream)
            return points + self.asked, state

    with pytest.raises(AssertionError, match="not close"):
        check_replays(Counting(particles=3), objective_problem)


@pytest.mark.parametrize("name", ["storm-pg", "svrpg", "srvr-pg", "n-pg-igt-lagged"])
def test_an_agent_whose_iterations_differ_cannot_be_recorded(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"meta tensors|tracing tensor"):
        check_replays(AGENTS[name], policy_problem)


def test_a_run_is_replayed_from_the_fourth_iteration_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a recorder that carries the iteration out by itself, and the flushes of a run between iterations."""
    replays = []

    def recorder(iteration: Callable[[list[Tensor]], list[Tensor]], places: list[Tensor]) -> Callable[[], None]:
        def replay() -> None:
            replays.append(float(places[-1]))
            results = [result.clone() for result in iteration(places)]
            for place, result in zip(places, results, strict=True):
                place.copy_(result)

        return replay

    monkeypatch.setattr(experiments.cuda_graphs, "recorded", recorder)
    monkeypatch.setattr(experiments.loop, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(experiments.asked, "check_graphs", lambda *_: None)
    plain, replayed = (
        run(CBO(particles=3), objective_problem(CPU), SEEDS, 60, evaluations=6, cuda_graphs=graphs)
        for graphs in (False, True)
    )
    assert len(replays) == plain.iterations + 1 - WARM_UP  # one that finds that every run has stopped
    assert replays == sorted(replays)
    assert replayed.iterations == plain.iterations
    assert replayed.curves.drop_columns("wall_s").equals(plain.curves.drop_columns("wall_s"))
    torch.testing.assert_close(replayed.parameters, plain.parameters)


def test_what_cannot_be_recorded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="cuda_graphs = True needs a GPU, ackley is on device = cpu"):
        run(CBO(), objective_problem(CPU), 1, 1_000, cuda_graphs=True)
    monkeypatch.setattr(ObjectiveProblem, "device", torch.device("cuda"))
    with pytest.raises(ValueError, match="cuda_graphs = True: iterations of zord differ in more than numbers"):
        run(ZoRD(), objective_problem(CPU), 1, 1_000, cuda_graphs=True)
