"""The CIFAR-10 classifier of the package cifar-10-model, rebuilt in torch from its Keras file.

Six convolutions with batch normalization after their ReLU, three dense layers, 968,394 parameters; its input are RGB
values 0 .. 255. The last layer has a ReLU too, which ties all negative scores at 0: it is left out.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

from experiments.attack.packages import WITHOUT_DEPENDENCIES, check_package, packaged
from zeroth_order.attack import Target

Module = TypeVar("Module", bound=nn.Module)

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CHANNELS = (3, 64, 64, 128, 128, 64, 64)
POOLED = (2, 4)
"""Convolutions that are followed by a maximum over 2 x 2 pixels."""
WIDTHS = (64, 1024, 512, 10)


def channels_last(model: Module) -> Module:
    """The model, its convolutions' weights in the order in memory that is fastest on a CPU."""
    for part in model.parameters():
        if part.dim() == 4:
            part.data = part.data.contiguous(memory_format=torch.channels_last)
    return model


class Scale(nn.Module):
    """[0, 1] -> [0, 255], with the channels last in memory, which is faster on a CPU."""

    def forward(self, images: Tensor) -> Tensor:
        """255 times the images."""
        return (255 * images).contiguous(memory_format=torch.channels_last)


def network() -> nn.Sequential:
    """Logits [n, 10] of images [n, 3, 32, 32] in [0, 1]."""
    layers: list[nn.Module] = [Scale()]
    for i in range(1, len(CHANNELS)):
        layers += [nn.Conv2d(CHANNELS[i - 1], CHANNELS[i], 3), nn.ReLU(), nn.BatchNorm2d(CHANNELS[i], eps=1e-3)]
        layers += [nn.MaxPool2d(2)] if i in POOLED else []
    layers.append(nn.Flatten())
    for i in range(1, len(WIDTHS)):
        layers += [nn.Linear(WIDTHS[i - 1], WIDTHS[i]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cifar10_network() -> nn.Sequential:
    """The network with the package's weights. Raises ValueError where a package is missing."""
    path = packaged("cifar_10_model", "trained_models/cnn_model.h5", "target cifar10", WITHOUT_DEPENDENCIES)
    check_package("h5py", "target cifar10")
    import h5py  # of the extra `attack`

    model = network()
    numbers = {nn.Conv2d: 0, nn.BatchNorm2d: 0, nn.Linear: 0}
    names = {nn.Conv2d: "conv2d", nn.BatchNorm2d: "batch_normalization", nn.Linear: "dense"}
    with h5py.File(path) as file, torch.no_grad():
        for layer in model:
            kind = type(layer)
            if kind not in names:
                continue
            name = f"{names[kind]}_{numbers[kind]}" if numbers[kind] else names[kind]
            numbers[kind] += 1
            stored = file["model_weights"][name][name]
            _fill(layer, {key.split(":")[0]: torch.from_numpy(part[()]) for key, part in stored.items()})
    return channels_last(model).eval()


def _fill(layer: nn.Module, weights: dict[str, Tensor]) -> None:
    """Keras has kernels [height, width, in, out] and [in, out]."""
    if isinstance(layer, nn.Conv2d):
        parts = {"weight": weights["kernel"].permute(3, 2, 0, 1), "bias": weights["bias"]}
    elif isinstance(layer, nn.Linear):
        parts = {"weight": weights["kernel"].T, "bias": weights["bias"]}
    else:
        parts = {
            "weight": weights["gamma"],
            "bias": weights["beta"],
            "running_mean": weights["moving_mean"],
            "running_var": weights["moving_variance"],
        }
    layer.load_state_dict(parts, strict=False)


def cifar10_target() -> Target:
    """The classifier."""
    return Target("cifar10", cifar10_network(), (3, 32, 32), 10, CLASS_NAMES)
