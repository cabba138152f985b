"""The books of an attack: every image that a target is shown, by purpose.

loss      candidates of the attack. The check whether one of them is adversarial is free: their scores tell.
check     the original, once: is it classified as it should be, before anything is paid for?
verify    the 8-bit file that is left in the end; not the attacker's, so it is outside of the budget
"""

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from zeroth_order.attack.target import Target

Purpose: TypeAlias = Literal["loss", "check", "verify"]


class Queries(NamedTuple):
    """How often each image's target was asked, int64 [n]."""

    loss: Tensor
    check: Tensor
    verify: Tensor

    @property
    def spent(self) -> Tensor:
        """[n] what the budget is about."""
        return self.loss + self.check


class CountedTarget:
    """A target that is asked in batches of at most `batch` images, each charged before it is asked."""

    def __init__(self, target: Target, images: int, batch: int) -> None:
        self.target, self.batch = target, batch
        self.queries = Queries(*(torch.zeros(images, dtype=torch.int64) for _ in Queries._fields))

    def scores(self, rows: Tensor, images: Tensor, purpose: Purpose) -> Tensor:
        """Scores [m, ..., Y] of images [m, ..., C, H, W] that belong to the images `rows` [m].

        Raises TargetError as `Target.scores`; what was asked until then is charged.
        """
        flat = images.flatten(0, -4)
        owners = rows.cpu().repeat_interleave(len(flat) // max(len(rows), 1))
        account = getattr(self.queries, purpose)
        answers = []
        for part, owner in zip(flat.split(self.batch), owners.split(self.batch), strict=True):
            account += torch.bincount(owner, minlength=len(account))
            answers.append(self.target.scores(part))
        return torch.cat(answers).unflatten(0, images.shape[:-3])
