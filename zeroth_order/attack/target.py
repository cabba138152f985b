"""Targets of an attack: classifiers that answer scores for images and tell nothing else.

n images · C channels · H, W pixels · Y classes
scores [n, Y]  <-  images [n, C, H, W] in [0, 1]
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

Shape: TypeAlias = tuple[int, int, int]
"""C, H, W."""


def shape_of(images: Tensor) -> Shape:
    """C, H, W of images [..., C, H, W]."""
    channels, height, width = images.shape[-3:]
    return channels, height, width


class TargetError(ValueError):
    """A target that raised, or answered what is no score."""


@dataclass(frozen=True)
class Target:
    """A classifier behind a function."""

    name: str
    function: Callable[[Tensor], Any]
    """Scores [n, Y] of images [n, C, H, W] in [0, 1], tensor or array: logits, or log-probabilities (of probabilities
    take the logarithm). A `torch.nn.Module` is one; it has to be in evaluation mode."""
    shape: Shape | None = None
    """Of its images; None: whatever it is given."""
    classes: int | None = None
    """Y; None: its first answer tells."""
    class_names: tuple[str, ...] = ()
    """[Y] for pictures; empty: the numbers."""

    def scores(self, images: Tensor) -> Tensor:
        """Scores [n, Y] of images [n, C, H, W], on their device.

        Raises TargetError, in one line, where the function raises, or what it answers has another shape or is not
        finite.
        """
        try:
            with torch.no_grad():
                answer = torch.as_tensor(self.function(images)).to(images.device)
        except Exception as error:
            line = next(iter(str(error).splitlines()), "")
            raise TargetError(f"target {self.name} raised {type(error).__name__}: {line}") from error
        if answer.dim() != 2 or len(answer) != len(images) or self.classes not in (None, answer.shape[1]):
            wanted = f"[{len(images)}, {self.classes or 'classes'}]"
            raise TargetError(f"target {self.name} answered shape {list(answer.shape)}, needed is {wanted}")
        if not bool(torch.isfinite(answer).all()):
            raise TargetError(f"target {self.name} answered scores that are NaN or infinite")
        return answer

    def name_of(self, number: int) -> str:
        """The name of a class."""
        return self.class_names[number] if self.class_names else str(number)
