"""`attack`: the loop that carries out an attack on many images at once.

    1  ask the target for the originals; those that are wrong already are not attacked
    2  candidates <- attacker.ask, projected into the ball; only as many as the budget still allows
    3  ask the target; the scores tell losses and successes
    4  images that have succeeded leave the batch, and the others' attacker is told the losses

A run is a pure function of (target, image, class, attacker, ball, loss, budget, seed): the other images change it only
as far as the target's own arithmetic depends on the size of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from envs.random import Purpose, Stream, streams
from zeroth_order.attack.balls import Ball
from zeroth_order.attack.core import Attacker, placed, rows_of
from zeroth_order.attack.losses import Loss, Margin, margin
from zeroth_order.attack.queries import CountedTarget, Queries
from zeroth_order.attack.target import Target, TargetError

Progress = Callable[[float, str], None]
"""(fraction done, message)"""
MARGIN = Margin()


@dataclass(frozen=True)
class Attacked:
    """What an attack found, for n images."""

    images: Tensor
    """[n, C, H, W] originals."""
    found: Tensor
    """[n, C, H, W] the candidate with the least margin that the target was asked for: adversarial where `success`."""
    classes: Tensor
    """[n] labels, or wanted classes where targeted."""
    targeted: bool
    success: Tensor
    """[n] bool."""
    already: Tensor
    """[n] bool: misclassified (targeted: already the wanted class) from the start; not attacked."""
    queries: Queries
    budget: int
    before: Tensor
    """[n, Y] scores of the originals."""
    after: Tensor
    """[n, Y] scores of `found`."""
    error: str | None = None
    """Why it ended early; what was found until then is here."""

    @property
    def attacked(self) -> Tensor:
        """[n] bool."""
        return ~self.already


def attack(
    target: Target,
    images: Tensor,
    classes: Tensor,
    attacker: Attacker,
    ball: Ball,
    loss: Loss = MARGIN,
    targeted: bool = False,
    budget: int = 10_000,
    seeds: Sequence[int] | None = None,
    batch: int = 256,
    progress: Progress = lambda done, message: None,
) -> Attacked:
    """Attack images [n, C, H, W] in [0, 1] with true labels `classes` [n]; targeted, `classes` are the wanted ones.

    Each image may be shown to the target `budget` times: once as it is, then changed. `seeds` [n] default to 0 .. n-1;
    at most `batch` images are shown at a time.

    Raises ValueError for bad input before the target is asked, and TargetError where it fails on the originals. Where
    it fails later, `error` says so.
    """
    check_attack(target, images, classes, attacker, ball, budget, batch)
    root = streams(range(len(images)) if seeds is None else seeds, images.device)
    if len(root.seeds) != len(images):
        raise ValueError(f"seeds has {len(root.seeds)} entries, {len(images)} are needed, one per image")
    counted = CountedTarget(target, len(images), batch)
    everyone = torch.arange(len(images), device=images.device)
    scores = counted.scores(everyone, images, "check")
    check_classes(classes, scores.shape[1])
    already = margin(scores, classes, targeted) < 0
    start = Attacked(
        images, images, classes, targeted, torch.zeros_like(already), already, counted.queries, budget, scores, scores
    )
    return _Attack(counted, attacker, ball, loss, start, root).run(progress)


class _Attack:
    """The images that go on, and what was found for all."""

    def __init__(
        self, counted: CountedTarget, attacker: Attacker, ball: Ball, loss: Loss, start: Attacked, root: Stream
    ) -> None:
        self.counted, self.attacker, self.ball, self.loss, self.found = counted, attacker, ball, loss, start
        self.root = root
        self.rows = start.attacked.nonzero()[:, 0]
        values = loss(start.before, start.classes, start.targeted)
        initial = rows_of(root, self.rows).fold(Purpose.INITIAL)
        images = start.images[self.rows]
        self.state: Any = attacker.init(images, values[self.rows], ball, initial) if len(images) else None
        self.iteration = 0

    def run(self, progress: Progress) -> Attacked:
        """Until no image goes on."""
        with torch.no_grad():
            try:
                while len(self.rows):
                    self._iterate()
                    progress(*self._done())
            except TargetError as error:
                self.found = replace(self.found, error=str(error))
        progress(1.0, self._done()[1])
        return self.found

    def _iterate(self) -> None:
        found, rows = self.found, self.rows
        images, classes = found.images[rows], found.classes[rows]
        # All images that go on have been asked for equally often.
        left = found.budget - int(found.queries.spent[int(rows[0])])
        if left == 0:
            self._keep(torch.zeros_like(rows, dtype=torch.bool))
            return
        stream = rows_of(self.root, rows).fold(Purpose.ASK).at(self.iteration)
        candidates, state = self.attacker.ask(self.state, self.ball, stream)
        candidates = self.ball.project(images[:, None], candidates)[:, :left]
        asked = candidates.shape[1]
        scores = self.counted.scores(rows, candidates, "loss")
        labels = classes[:, None].expand(-1, asked)
        success = self._note(candidates, scores, margin(scores, labels, found.targeted))
        self.iteration += 1
        if left <= asked:
            self._keep(torch.zeros_like(success))
            return
        self.state = self.attacker.tell(state, candidates, self.loss(scores, labels, found.targeted))
        stopped = self.attacker.stopped(self.state)
        self._keep(~success if stopped is None else ~(success | stopped))

    def _note(self, candidates: Tensor, scores: Tensor, margins: Tensor) -> Tensor:
        """Keep the best candidates; which images have succeeded, [m]."""
        found, rows = self.found, self.rows
        least, best = margins.min(-1)
        pick = torch.arange(len(rows), device=rows.device)
        better = least < margin(found.after[rows], found.classes[rows], found.targeted)
        success = least < 0
        image = torch.where(better[:, None, None, None], candidates[pick, best], found.found[rows])
        score = torch.where(better[:, None], scores[pick, best], found.after[rows])
        self.found = replace(
            found,
            found=placed(image, rows, found.found),
            after=placed(score, rows, found.after),
            success=placed(success, rows, found.success),
        )
        return success

    def _keep(self, going: Tensor) -> None:
        """Take the images that do not go on, of `going` [m], out of the batch."""
        if bool(going.all()):
            return
        kept = going.nonzero()[:, 0]
        self.rows, self.state = self.rows[kept], rows_of(self.state, kept)

    def _done(self) -> tuple[float, str]:
        found = self.found
        share = found.queries.spent.double() / found.budget
        going = torch.zeros_like(found.success).index_fill(0, self.rows, True).cpu()
        done = float(torch.where(going, share.clamp(max=1.0), 1.0).mean())
        successes, attacked = int(found.success.sum()), int(found.attacked.sum())
        return done, f"{successes} of {attacked} images, {int(found.queries.spent.sum()):,} queries"


def check_attack(
    target: Target, images: Tensor, classes: Tensor, attacker: Attacker, ball: Ball, budget: int, batch: int = 1
) -> None:
    """Raise ValueError, naming the argument, for what `attack` cannot do; the target is not asked."""
    if images.dim() != 4 or not len(images) or not images.is_floating_point():
        raise ValueError(f"images have shape {list(images.shape)} and type {images.dtype}, not float [n, C, H, W]")
    if target.shape is not None and tuple(images.shape[1:]) != target.shape:
        raise ValueError(f"images have shape {list(images.shape[1:])}, target {target.name} takes {list(target.shape)}")
    outside = ~((images >= 0) & (images <= 1)).flatten(1).all(1)
    if bool(outside.any()):
        raise ValueError(f"images: number {int(outside.nonzero()[0])} has pixels outside of [0, 1]")
    if classes.shape != (len(images),) or classes.dtype != torch.int64:
        raise ValueError(
            f"classes have shape {list(classes.shape)} and type {classes.dtype}, not int64 [{len(images)}]"
        )
    check_classes(classes, target.classes)
    if budget < 2:
        raise ValueError(f"budget = {budget} is not >= 2: one query for the original, one for a change")
    if batch < 1:
        raise ValueError(f"batch = {batch} is not >= 1")
    attacker.check(images, ball)


def check_classes(classes: Tensor, number: int | None) -> None:
    """Raise ValueError naming the first of the classes [n] that is not in [0, number); None: no upper limit."""
    wrong = classes[(classes < 0) | (classes >= (torch.iinfo(torch.int64).max if number is None else number))]
    if len(wrong):
        allowed = ">= 0" if number is None else f"in [0, {number - 1}]"
        raise ValueError(f"class {int(wrong[0])} is not {allowed}")
