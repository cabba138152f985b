"""gradient-is-all-you-need: in which sense consensus-based optimization is gradient descent.

Riedl, Klock, Geldhauser, Fornasier, "Gradient is all you need?" (arXiv 2306.09778): its pictures with measured numbers,
one part each. What they show is in `experiments/gradient_is_all_you_need.md`.
"""

from collections.abc import Callable

from experiments.studies.core import Found, Request, open_study
from experiments.studies.gradient.canyon import run_canyon
from experiments.studies.gradient.cosine import run_cosine
from experiments.studies.gradient.deviation import run_deviation
from experiments.studies.gradient.phases import run_phases
from experiments.studies.gradient.proximal import run_proximal

NAME = "gradient-is-all-you-need"
PARTS: dict[str, Callable[[Request], Found]] = {
    "canyon": run_canyon,
    "proximal": run_proximal,
    "cosine": run_cosine,
    "deviation": run_deviation,
    "phases": run_phases,
}
"""Name -> part; all files of a part begin with its name, and <name>.md is the last that it writes."""


def run_gradient(request: Request) -> Found:
    """All parts; with `resume`, those that are not finished. Raises ValueError where a budget is asked for."""
    if request.budget is not None:
        raise ValueError(f"budget = {request.budget} is not for {NAME}: each of its parts has the paper's")
    open_study(NAME, request)
    texts, files = [], []
    for name, part in PARTS.items():
        if not (request.out / f"{name}.md").exists():
            part(request)
        written = sorted(request.out.glob(f"{name}[.-]*"))
        texts += [name, *(path.read_text() for path in written if path.suffix == ".md")]
        files += written
    return Found("\n".join(texts), files)
