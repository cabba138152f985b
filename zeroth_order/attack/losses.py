"""What an attack minimises, from scores [..., Y] and one class [...] for each of them.

Untargeted, the class is the true label y and has to lose; targeted, it is the wanted label and has to win.

    Margin          z_y - max_{j != y} z_j                 targeted: with the opposite sign
    CrossEntropy    log p_y, p the softmax of the scores   targeted: with the opposite sign

The margin is negative exactly where the attack has succeeded. Cross-entropy does not tell that, but the scores it was
computed from do, so neither pays a query to know whether a point that was asked is adversarial.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


def margin(scores: Tensor, classes: Tensor, targeted: bool) -> Tensor:
    """The margin [...]; a tie is 0, and no success."""
    chosen = classes[..., None]
    own = scores.gather(-1, chosen)[..., 0]
    others = scores.scatter(-1, chosen, -torch.inf).amax(-1)
    return others - own if targeted else own - others


class Loss(ABC):
    """Lower is better; any leading axes, so that clients' models may be one of them."""

    @abstractmethod
    def __call__(self, scores: Tensor, classes: Tensor, targeted: bool) -> Tensor:
        """[...] from scores [..., Y] and classes [...] int64."""


@dataclass(frozen=True)
class Margin(Loss):
    """Distance of the class to the best other one, in the units of the scores."""

    def __call__(self, scores: Tensor, classes: Tensor, targeted: bool) -> Tensor:
        """The margin."""
        return margin(scores, classes, targeted)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Logarithm of the probability of the class."""

    def __call__(self, scores: Tensor, classes: Tensor, targeted: bool) -> Tensor:
        """log p of the class, negated when it is wanted."""
        own = scores.log_softmax(-1).gather(-1, classes[..., None])[..., 0]
        return -own if targeted else own
