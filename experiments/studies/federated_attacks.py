"""federated-attacks: federated optimizers as black-box attacks on clients whose classifiers differ.

Shu, Lin, Dai, Low (arXiv 2308.04077), section 6.2, with the start at the image and balls in pixel space. Seed s attacks
image s: `--seeds` is the number of images, `--seed` the first, `--budget` the queries of all clients together for each.
`zopg tune --preset federated-attacks` chooses the step sizes on images that the study does not report. Where the
variable ZOPG_CIFAR10 names a folder with the real CIFAR-10, its clients are trained from it.
"""

import os
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.algorithm import Schedule
from envs.random import streams
from experiments import plots
from experiments.attack import pictures
from experiments.attack.cifar10_clients import cifar10_clients
from experiments.attack.cifar10_variants import cifar10_variants
from experiments.attack.clients import Clients
from experiments.attack.federated import FALLEN, FederatedAttackProblem, attacked
from experiments.attack.mnist_clients import mnist_clients
from experiments.attack.outcome import Censored
from experiments.attack.trained import Progress
from experiments.describe import describe
from experiments.grids import batches
from experiments.loop import run
from experiments.presets import Setting
from experiments.provenance import provenance
from experiments.record import write_csv, write_json
from experiments.report import interval
from experiments.statistics import median_time
from experiments.studies.core import Chosen, Contender, Found, Request, chosen_values, open_study, write_table
from experiments.studies.tuning import check_equal
from zeroth_order.attack import FederatedAttack
from zeroth_order.core import Values as Told
from zeroth_order.federated import FederatedOptimizer, FedProx, FedZO, FZooS, ScaffoldI, ScaffoldII
from zeroth_order.federated.gaussian_process import GaussianProcess
from zeroth_order.federated.random_features import RandomFeatures

NAME, FOLDER = "federated-attacks", "ZOPG_CIFAR10"
HEADER = (
    "target", "algorithm", "settings", "images", "success", "median queries", "median of all", "mean of all", "rounds",
    "floats up", "clients fooled",
)  # fmt: skip
STEPS = [0.03, 0.1, 0.3]
"""Step sizes that are tried, of coordinates in [0, 1]."""


class Scene(NamedTuple):
    """Clients, and how they are attacked."""

    clients: Callable[[Progress], Clients]
    steps: int
    """T, local steps of a round."""
    budget: int
    """Queries of all clients together for an image."""


def cifar10(progress: Progress) -> Clients:
    """Trained clients where there is a folder to train them from, else variants of a pretrained network."""
    folder = os.environ.get(FOLDER)
    return cifar10_clients(Path(folder), progress) if folder else cifar10_variants()


SCENES: dict[str, Scene] = {
    "mnist": Scene(mnist_clients, steps=5, budget=8_000),
    "cifar10": Scene(lambda progress: cifar10(progress), steps=10, budget=8_000),
}


def contenders(steps: int) -> tuple[Contender, ...]:
    """With T local steps. All keep their moments of Adam from round to round, and may ask less or more in each."""
    surrogate = FZooS(
        steps=steps,
        process=GaussianProcess(capacity=200),
        history=200,
        features=RandomFeatures(300),
        active=0,
        candidates=0,
        closing=10,
        closing_candidates=20,
        radius=Schedule(0.01),
        rate=Schedule(0.1),
    )
    return (
        Contender("fzoos", Setting(surrogate), {"rate.scale": STEPS, "closing": [10, 20]}),
        *(
            Contender(
                kind.id,
                Setting(kind(steps=steps, gamma=Schedule(0.1), number=5, forgets=False)),
                {"gamma.scale": STEPS, "number": [5, 20]},
            )
            for kind in (FedZO, FedProx, ScaffoldI, ScaffoldII)
        ),
    )


class Course(NamedTuple):
    """What became of R images of a contender."""

    contender: Contender
    censored: Censored
    """Queries until an image had fallen, the budget where it held out."""
    points: Tensor
    """[R, d] the server's in the end."""
    rounds: Tensor
    """[R] whole rounds."""
    sent: Tensor
    """[R] floats that went up."""
    fooled: Tensor
    """[R] share of the clients that are fooled in the end."""


def run_federated_attacks(request: Request, scenes: Mapping[str, Scene] = SCENES) -> Found:
    """The study. Raises ValueError for bad input, and where a package of the extra `attack` is missing."""
    chosen = chosen_values(NAME, request)
    problems = _problems(request, scenes)
    open_study(NAME, request)
    rows, images, clients = [], [], []
    files: list[Path] = []
    for name, scene in scenes.items():
        there, problem = problems[name]
        found = [
            course(each.tuned(chosen[name][each.label]), problem, name, scene, request)
            for each in contenders(scene.steps)
        ]
        rows += [line(name, each) for each in found]
        images += [entry for each in found for entry in _entries(name, each, request)]
        clients += [
            [name, target.name, str(right)] for target, right in zip(there.targets, there.accuracies, strict=True)
        ]
        files += _draw(name, there, problem, found, request)
    text, tables = write_table(request.out / "attacks", HEADER, rows)
    write_csv(request.out / "images.csv", [["target", "algorithm", "image", "queries", "success", "fooled"], *images])
    write_csv(request.out / "clients.csv", [["target", "client", "accuracy"], *clients])
    return Found(text, [*tables, request.out / "images.csv", request.out / "clients.csv", *files])


def tune_federated_attacks(request: Request, scenes: Mapping[str, Scene] = SCENES) -> Found:
    """Step sizes: of every contender that with the fewest queries; an image that held out counts the budget."""
    problems = _problems(request, scenes)
    open_study(NAME, request)
    chosen: Chosen = {name: {} for name in scenes}
    rows = []
    for name, scene in scenes.items():
        everyone = contenders(scene.steps)
        check_equal(everyone)
        for each in everyone:
            tried = [
                (course(each.tuned(values), problems[name][1], name, scene, request).censored.queries.mean(), values)
                for batch in batches(each.setting, each.grid)
                for values in batch
            ]
            _, chosen[name][each.label] = best = min(tried, key=lambda pair: pair[0])
            rows += [
                [name, each.label, describe(pair[1]), f"{pair[0]:,.0f}", "yes" if pair is best else ""]
                for pair in tried
            ]
    _, tables = write_table(request.out / "tuning", ("target", "algorithm", "values", "mean queries", "chosen"), rows)
    file = request.out / f"{NAME}.json"
    rule = "fewest queries in the mean, the budget for an image that held out; of equals the smallest step size"
    how = {"rule": rule, "seeds": request.numbers, "budget": request.budget}
    write_json(file, {"chosen": chosen, "tuning": how, "provenance": provenance()})
    return Found(f"chosen: {chosen}\n", [*tables, file])


def _problems(request: Request, scenes: Mapping[str, Scene]) -> dict[str, tuple[Clients, FederatedAttackProblem]]:
    found = {}
    for name, scene in scenes.items():
        with request.show(f"{name}: clients") as progress:
            there = scene.clients(progress)
        images, labels = there.standing()
        if request.numbers[-1] >= len(images):
            raise ValueError(f"seeds reach {request.numbers[-1]}, there are {len(images)} images of {name}")
        attack = FederatedAttack(there.targets, images, labels, there.label, there.ball, there.space)
        found[name] = there, FederatedAttackProblem(attack, dtype=torch.float32)
    return found


def course(contender: Contender, problem: FederatedAttackProblem, name: str, scene: Scene, request: Request) -> Course:
    """Attack image by image: among others, one that has fallen would be computed on until the last has."""
    budget, out = request.budget or scene.budget, request.out / name
    algorithm, results = contender.setting.algorithm, []
    with request.show(f"{name}: {contender.label}") as progress:
        for image in request.numbers:
            results.append(
                run(
                    algorithm,
                    problem,
                    [image],
                    budget,
                    evaluations=1,
                    out=out,
                    resume=request.resume,
                    progress=progress,
                )
            )
    points = torch.cat([result.parameters for result in results])
    sent = torch.cat([result.spent.uplink_floats for result in results])
    success = np.array([result.stopped[0] == FALLEN for result in results])
    queries = np.where(success, [float(result.spent.queries) for result in results], float(budget))
    with torch.no_grad():
        fooled = problem.score(points, streams(request.numbers))["fooled"]
    among = problem.adapted(algorithm)
    assert isinstance(among, FederatedOptimizer)
    rounds = sent // sent_in_a_round(among, problem.dim)
    return Course(contender, Censored(queries, success, budget), points, rounds, sent, fooled)


def sent_in_a_round(algorithm: FederatedOptimizer, dim: int) -> int:
    """Floats that all clients send in a round, found by a round on a parabola."""
    state, total, iteration = algorithm.init(torch.zeros(1, dim), streams([0])), 0, 0
    while True:
        points, state = algorithm.ask(state, streams([0]).at(iteration))
        sent = int(algorithm.request(state).uplink)
        state, metrics = algorithm.tell(state, points, Told(points.square().sum(-1)))
        if int(metrics["rounds"]):
            return total
        total, iteration = total + sent, iteration + 1


def line(name: str, found: Course) -> list[str]:
    """A row of the table."""
    queries, success, _ = found.censored
    won = queries[success]
    settings = ", ".join(
        f"{path} {attrgetter(path)(found.contender.setting.algorithm):g}" for path in found.contender.grid
    )
    return [
        name, found.contender.label, settings, str(len(queries)), f"{success.mean():.0%}",
        f"{np.median(won):,.0f}" if len(won) else "-", interval(median_time(queries, success), "{:,.0f}"),
        f"{queries.mean():,.0f}", f"{found.rounds.double().median():g}",
        f"{found.sent.double().median():,.0f}", f"{found.fooled.mean():.0%}",
    ]  # fmt: skip


def _entries(name: str, found: Course, request: Request) -> list[list[str]]:
    queries, success, _ = found.censored
    parts = zip(request.numbers, queries.tolist(), success.tolist(), found.fooled.tolist(), strict=True)
    return [
        [name, found.contender.label, str(image), f"{count:.0f}", str(fell), f"{fooled:.3g}"]
        for image, count, fell, fooled in parts
    ]


def _draw(
    name: str, there: Clients, problem: FederatedAttackProblem, found: list[Course], request: Request
) -> list[Path]:
    title = f"{name}, {len(there.targets)} clients, Linf {there.ball.epsilon:.3g}"
    curves = pictures.success_figure([(each.contender.label, each.censored) for each in found], title)
    best = min(found, key=lambda each: each.censored.queries.mean())
    images = attacked(problem.attack, best.points, best.censored, request.numbers)
    shown = pictures.side_by_side(images, there.targets[0], f"{best.contender.label} on {title}")
    return [*plots.save(curves, request.out / f"success-{name}"), *plots.save(shown, request.out / f"pictures-{name}")]
