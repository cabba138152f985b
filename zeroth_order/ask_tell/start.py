"""What a search is given: the dimension, the box and the start, and the form in which points are handed out."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from envs.random import Stream
from zeroth_order.core import Bounds

Vector: TypeAlias = float | Sequence[float] | np.ndarray | Tensor
"""One number for all coordinates, or [dim]."""
Box: TypeAlias = tuple[Vector, Vector]
"""Low and high; -inf and inf where a side is open."""


class Form(NamedTuple):
    """How points are handed out: in the kind, type and place of x0, and with a run axis where there are several."""

    numpy: bool
    dtype: torch.dtype
    device: torch.device
    several: bool

    @staticmethod
    def of(x0: Any, several: bool) -> "Form":
        """NumPy unless x0 is a tensor; float64 unless x0 is float32."""
        if isinstance(x0, Tensor):
            single, device = x0.dtype == torch.float32, x0.device
        else:
            single, device = np.asarray(x0).dtype == np.float32, torch.device("cpu")
        return Form(not isinstance(x0, Tensor), torch.float32 if single else torch.float64, device, several)

    def show(self, tensor: Tensor) -> Any:
        """A copy of a tensor [R, ...] as people see it."""
        tensor = tensor.clone() if self.several else tensor[0].clone()
        return tensor.numpy() if self.numpy else tensor

    def read(self, name: str, given: Any, dtype: torch.dtype) -> Tensor:
        """What people tell, as a tensor [R, ...]. Raises ValueError where it is not numbers."""
        try:
            tensor = torch.as_tensor(given if isinstance(given, Tensor) else np.asarray(given, np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} are not an array of numbers: {error}") from error
        tensor = tensor.detach().to(self.device, dtype)
        return tensor if self.several else tensor[None]

    def check(self, name: str, tensor: Tensor, shape: tuple[int | str, ...]) -> None:
        """Raise ValueError unless the tensor [R, ...] has that shape; a letter stands for any size >= 1."""
        found = tuple(tensor.shape)
        sizes = tuple(max(n, 1) if isinstance(size, str) else size for n, size in zip(found, shape, strict=False))
        if len(found) != len(shape) or found != sizes:
            hidden = 0 if self.several else 1
            wanted = f"[{', '.join(str(size) for size in shape[hidden:])}]"
            raise ValueError(f"{name} of shape {list(found[hidden:])}: {wanted} is needed")


def check_whole(name: str, value: Any, low: int) -> None:
    """Raise ValueError naming `name` unless the value is a whole number >= low."""
    if not isinstance(value, Integral) or value < low:
        raise ValueError(f"{name} = {value} is not a whole number >= {low}")


def dimension(x0: Any, bounds: Box | None, dim: int | None) -> int:
    """The one dimension that dim, x0 and the bounds agree on; ValueError where there is none."""
    low, high = (None, None) if bounds is None else bounds
    vectors = {"x0": x0, "low": low, "high": high}
    given = {name: np.shape(vector)[-1] for name, vector in vectors.items() if np.ndim(vector) > 0}
    if dim is not None:
        given["dim"] = dim
    if len(set(given.values())) != 1 or min(given.values()) < 1:
        raise ValueError(f"x0, bounds or dim have to tell one dimension >= 1; they tell {given or 'nothing'}")
    return next(iter(given.values()))


def box_of(bounds: Box | None, dim: int, form: Form) -> Bounds | None:
    """Low and high [d]. Raises ValueError where a number is NaN or low >= high."""
    if bounds is None:
        return None
    low, high = _vector("low", bounds[0], (dim,), form), _vector("high", bounds[1], (dim,), form)
    if not bool((low < high).all()):
        raise ValueError(f"bounds = {bounds}: low has to be < high")
    return low, high


def start_of(x0: Any, box: Bounds | None, dim: int, form: Form, stream: Stream) -> Tensor:
    """[R, d] x0, or uniform in the box. Raises ValueError where there is neither, or x0 is not a point of the box."""
    runs = len(stream.seeds)
    if x0 is None:
        if box is None:
            raise ValueError("x0 or bounds are needed")
        low, high = box
        if not bool(torch.isfinite(high - low).all()):
            raise ValueError(f"low = {low.tolist()}, high = {high.tolist()}: x0 is needed where a side is open")
        return low + (high - low) * stream.uniform(dim, dtype=form.dtype)
    shape = (runs, dim) if form.several and np.ndim(x0) == 2 else (dim,)
    start = _vector("x0", x0, shape, form).expand(runs, dim).clone()
    if not bool(torch.isfinite(start).all()):
        raise ValueError(f"x0 = {x0} is not finite")
    if box is not None and not bool(((start >= box[0]) & (start <= box[1])).all()):
        raise ValueError(f"x0 = {x0} does not lie in the bounds")
    return start


def _vector(name: str, value: Any, shape: tuple[int, ...], form: Form) -> Tensor:
    tensor = form._replace(several=True).read(name, value, form.dtype)
    if tensor.dim() not in (0, len(shape)) or tensor.shape not in ((), shape) or bool(tensor.isnan().any()):
        raise ValueError(f"{name} = {value} is not numbers of shape {list(shape)}")
    return tensor.expand(shape).clone()
