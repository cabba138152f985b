"""How hyper-parameters that are not plain types are written on the command line."""

import inspect
from typing import Any, get_args

from torch import Tensor
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from rl.npg import StepSize
from zeroth_order.cbo import Noise

REGISTRY = ConstructorRegistry()
COMPONENTS = (Noise, StepSize)
"""Abstract components whose concrete classes have no settings."""


@REGISTRY.primitive_rule
def numeric(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """`envs.algorithm.Numeric`: a number; tensors along the run axis are for Python."""
    if Tensor not in get_args(info.type):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT",
        instance_from_str=lambda words: float(words[0]),
        is_instance=lambda value: isinstance(value, int | float | Tensor),
        str_from_instance=lambda value: [str(value)],
    )


@REGISTRY.primitive_rule
def component(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """An abstract component without settings: its concrete classes by name, in lower case."""
    if info.type not in COMPONENTS:
        return None
    base: Any = info.type
    classes: dict[str, Any] = {
        kind.__name__.lower(): kind for kind in base.__subclasses__() if not inspect.isabstract(kind)
    }
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join(classes),
        instance_from_str=lambda words: classes[words[0]](),
        is_instance=lambda value: isinstance(value, base),
        str_from_instance=lambda value: [type(value).__name__.lower()],
        choices=tuple(classes),
    )
