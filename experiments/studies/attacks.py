"""single-image-attacks: CBO, Square and SimBA with their published settings on the classifiers of `zopg attack`.

Beside each row stand the numbers that its paper reports for a comparable one; what differs in the protocol is said in
`experiments/attacks.md`. `--seeds` limits the number of images, `--budget` the queries of each.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from experiments import plots
from experiments.attack import outcome, pictures
from experiments.attack.settings import as_attacker, default_settings
from experiments.attack.targets import SCENES
from experiments.record import write_csv
from experiments.studies.core import Found, Request, open_study, write_table
from zeroth_order.attack import (
    L2,
    Attacked,
    Attacker,
    Ball,
    CosineBasis,
    CrossEntropy,
    Linf,
    Loss,
    LowResolution,
    Margin,
    Pixels,
    SimBA,
    Space,
    SquareAttack,
    Target,
    attack,
)

_MARGIN = Margin()
NAME = "single-image-attacks"
HEADER = (
    "target", "attack", "ball", "budget", "images", "success", "median", "mean", "median of all", "mean of all",
    "area", "published: success / mean / median",
)  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """One row."""

    target: str
    label: str
    attacker: Attacker
    ball: Ball
    published: str = ""
    """Success in per cent / mean / median of the queries of successes, by victim."""
    loss: Loss = _MARGIN
    targeted: bool = False
    budget: int = 2_000
    images: int = 20


def _optimizer(algorithm: str, space: Space) -> Attacker:
    return as_attacker(default_settings(algorithm, space, 1), space)


_LINF, _SQUARE = Linf(0.05), SquareAttack(iterations=10_000)
_CBO_50 = _optimizer("cbo", LowResolution(50))
_SIMBA_DCT = SimBA(CosineBasis(28, 7))
PROTOCOLS = (
    Protocol("cifar10", "CBO, pixels", _optimizer("cbo", Pixels()), _LINF),
    Protocol("cifar10", "CBO, low-res 14", _optimizer("cbo", LowResolution(14)), _LINF),
    Protocol("cifar10", "hopping, low-res 14", _optimizer("consensus-hopping", LowResolution(14)), _LINF),
    Protocol("cifar10", "CMA-ES, low-res 14", _optimizer("cma-es", LowResolution(14)), _LINF),
    Protocol("cifar10", "NES, pixels", _optimizer("openai-es", Pixels()), _LINF),
    Protocol("cifar10", "ZO-signSGD, pixels", _optimizer("zo-signsgd", Pixels()), _LINF),
    Protocol("cifar10", "Square", _SQUARE, _LINF),
    Protocol("cifar10", "SimBA, pixels", SimBA(), L2(1.0), loss=CrossEntropy()),
    Protocol("cifar10", "Square", _SQUARE, L2(1.0)),
    Protocol(
        "cifar10", "CBO, pixels", _optimizer("cbo", Pixels()), _LINF, "ResNet 100 / 494 / 310",
        CrossEntropy(), targeted=True,
    ),
    Protocol(
        "efficientnet-lite0", "Square", _SQUARE, _LINF,
        "Inception 99.7 / 197 / 24, ResNet 100 / 73 / 11, VGG 100 / 31 / 1", budget=300, images=6,
    ),
    Protocol(
        "efficientnet-lite0", "CBO, low-res 50", _CBO_50, _LINF,
        "Inception 98.5 / 417 / 120, ResNet 99.9 / 250 / 70, VGG 100 / 140 / 10", budget=300, images=6,
    ),
    Protocol(
        "efficientnet-lite0", "Square", _SQUARE, L2(5.0),
        "Inception 92.9 / 1,100 / 385, ResNet 99.3 / 616 / 170, VGG 99.2 / 377 / 109", budget=300, images=6,
    ),
    Protocol(
        "efficientnet-lite0", "SimBA-DCT", _SIMBA_DCT, L2(3.0), "Inception 86.9 / 2,112 / 1,057",
        CrossEntropy(), budget=300, images=6,
    ),
)  # fmt: skip


def run_attacks(request: Request) -> Found:
    """The study. Raises ValueError for bad input, and where a package of the extra `attack` is missing."""
    if request.resume:
        raise ValueError(f"{NAME} takes minutes and cannot be resumed")
    targets = {name: SCENES[name].target(lambda done, message: None) for name in ("cifar10", "efficientnet-lite0")}
    open_study(NAME, request)
    found: list[tuple[Protocol, Attacked]] = []
    rows, images = [], []
    for protocol in PROTOCOLS:
        attacked = _carry_out(protocol, targets[protocol.target], request)
        found.append((protocol, attacked))
        rows.append(_row(protocol, attacked))
        queries, success, _ = outcome.censored(attacked)
        pairs = zip(queries.tolist(), success.tolist(), strict=True)
        images += [[protocol.target, protocol.label, str(protocol.ball), protocol.targeted, *pair] for pair in pairs]
        text, tables = write_table(request.out / "attacks", HEADER, rows)
        header = ["target", "attack", "ball", "targeted", "queries", "success"]
        write_csv(request.out / "images.csv", [header, *images])
    files = [*tables, request.out / "images.csv"]
    for name, target in targets.items():
        files += _draw(name, target, found, request)
    return Found(text, files)


def _carry_out(protocol: Protocol, target: Target, request: Request) -> Attacked:
    data = SCENES[protocol.target].images().first(min(protocol.images, request.seeds))
    classes = (data.labels + 1) % (target.classes or 1) if protocol.targeted else data.labels
    with request.show(f"{protocol.target}: {protocol.label}") as progress, torch.no_grad():
        return attack(
            target, data.images, classes, protocol.attacker, protocol.ball, protocol.loss, protocol.targeted,
            request.budget or protocol.budget, range(request.seed, request.seed + len(classes)), 64, progress,
        )  # fmt: skip


def _row(protocol: Protocol, found: Attacked) -> list[str]:
    summary = outcome.summarise(found, found.success)
    told = dict(zip(summary._fields, outcome.cells(summary), strict=True))
    kind = f"{type(protocol.ball).__name__} {protocol.ball.epsilon:.3g}"
    columns = ("attacked", "success", "median", "mean", "median_all", "mean_all", "area")
    return [
        protocol.target, protocol.label, f"{kind}, targeted" if protocol.targeted else kind, f"{found.budget:,}",
        *(told[column] for column in columns), protocol.published,
    ]  # fmt: skip


def _draw(name: str, target: Target, found: list[tuple[Protocol, Attacked]], request: Request) -> list[Path]:
    mine = [(p, a) for p, a in found if p.target == name and p.ball == _LINF and not p.targeted]
    curves = pictures.success_figure(
        [(p.label, outcome.censored(a)) for p, a in mine], f"{name}, untargeted, Linf 0.05"
    )
    shown = pictures.side_by_side(mine[0][1], target, f"{mine[0][0].label} on {name}, Linf 0.05")
    return [
        *plots.save(curves, request.out / f"success-{name}"),
        *plots.save(shown, request.out / f"pictures-{name}"),
    ]
