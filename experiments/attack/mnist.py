"""The MNIST classifier: a small convolutional network, trained once on 4,000 digits and kept in the user's cache.

<cache>/mnist-cnn.safetensors   weights
<cache>/mnist-cnn.json          how it was trained, and its accuracy on the 1,000 other digits
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from envs.files import write_atomically
from experiments.attack.images import Labelled, digits
from experiments.record import write_json
from zeroth_order.attack import Target

Progress = Callable[[float, str], None]

TRAINING = {"seed": 0, "epochs": 10, "batch": 32, "learning_rate": 2e-3}
"""A cached network that was trained otherwise is trained anew."""


def network(seed: int) -> nn.Sequential:
    """Two convolutions of 16 and 32 channels, a hidden layer of 64: logits of 10 classes, 114,314 parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # layers draw their weights from the global generator
        return nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip


def train(
    data: Labelled,
    seed: int = 0,
    epochs: int = 10,
    batch: int = 32,
    learning_rate: float = 2e-3,
    progress: Progress = lambda done, message: None,
) -> nn.Sequential:
    """The network after `epochs` of Adam on cross-entropy, its steps going down to 0; all randomness is from `seed`."""
    model = network(seed)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    steps = epochs * -(-len(data.images) // batch)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for epoch in range(epochs):
        for rows in torch.randperm(len(data.images), generator=generator).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data.images[rows]), data.labels[rows]).backward()
            optimizer.step()
            decay.step()
        progress((epoch + 1) / epochs, f"epoch {epoch + 1} of {epochs}")
    return model.eval()


def accuracy(function: Callable[[Tensor], Tensor], data: Labelled) -> float:
    """Share of images whose best score is the label's."""
    with torch.no_grad():
        return float((function(data.images).argmax(1) == data.labels).double().mean())


def cache_folder() -> Path:
    """zopg's folder in the user's cache; XDG_CACHE_HOME says where that is."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zopg"


def mnist_target(progress: Progress = lambda done, message: None) -> Target:
    """The classifier, trained at the first call, read from the cache later."""
    weights = cache_folder() / "mnist-cnn.safetensors"
    about = weights.with_suffix(".json")
    model = network(seed=0).eval()
    if _trained_as_now(weights, about):
        model.load_state_dict(load_file(weights))
    else:
        training = digits(training=True)
        model = train(training, **TRAINING, progress=progress)  # type: ignore[arg-type]
        weights.parent.mkdir(parents=True, exist_ok=True)
        state = {name: part.contiguous() for name, part in model.state_dict().items()}
        write_atomically(weights, lambda path: save_file(state, path))
        found = {"accuracy": accuracy(model, digits(training=False)), "images": len(training.images)}
        write_json(about, {"training": TRAINING} | found)
    return Target("mnist", model, (1, 28, 28), 10)


def _trained_as_now(weights: Path, about: Path) -> bool:
    if not (weights.exists() and about.exists()):
        return False
    described: dict[str, Any] = json.loads(about.read_text())
    return described.get("training") == TRAINING
