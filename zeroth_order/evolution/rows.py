"""Parts of a state, a NamedTuple whose tensors begin with the run axis: some of its fields, or some of its runs."""

from typing import Any

from torch import Tensor

from envs.random import Stream


def part_of(kind: Any, state: Any) -> Any:
    """The NamedTuple `kind` of the fields of the same names."""
    return kind(*(getattr(state, name) for name in kind._fields))


def taken(state: Any, rows: Tensor) -> Any:
    """The runs `rows` [n]; streams among the fields have their seeds."""

    def take(part: Any) -> Any:
        if isinstance(part, Stream):
            counter = part.counter[rows] if isinstance(part.counter, Tensor) else part.counter
            return part._replace(seeds=part.seeds[rows], counter=counter)
        return part[rows] if isinstance(part, Tensor) else part

    return type(state)(*map(take, state))


def put(state: Any, part: Any, rows: Tensor) -> Any:
    """The state with the tensors of `part` as its runs `rows` [n]."""

    def replaced(whole: Any, some: Any) -> Any:
        return whole.index_copy(0, rows, some) if isinstance(whole, Tensor) else whole

    return type(state)(*(replaced(whole, some) for whole, some in zip(state, part, strict=True)))
