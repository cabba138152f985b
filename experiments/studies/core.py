"""A study: an experiment on several problems, with tables and figures of its own; `zopg compare --preset <its id>`.

<out>/study.json  command.txt                what was asked for
<out>/<problem>/<algorithm>-<hash>/          one record each, see `experiments.record`
<out>/*.csv  *.md  *.png  *.pdf              what was found

`zopg tune --preset <its id>` chooses the hyper-parameters, on seeds that the study never reports, and writes a file
like those in `experiments/studies/tuned/`, which the study reads.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from envs.files import write_atomically
from experiments.compare import ProgressFactory, quiet
from experiments.folders import open_folder
from experiments.grids import Grid, Values, with_values
from experiments.presets import Setting
from experiments.record import write_csv

TUNED = Path(__file__).parent / "tuned"
"""<study>.json each."""


Chosen: TypeAlias = dict[str, dict[str, Values]]
"""problem -> contender -> field -> value."""


class Request(NamedTuple):
    """What is asked of a study."""

    out: Path
    seeds: int
    """Runs per algorithm."""
    seed: int = 0
    """First seed."""
    budget: int | None = None
    """Environment steps per run; None leaves it to the study."""
    resume: bool = False
    show: ProgressFactory = quiet

    @property
    def numbers(self) -> list[int]:
        """The seeds."""
        return list(range(self.seed, self.seed + self.seeds))


class Found(NamedTuple):
    """What a study found."""

    text: str
    """Its tables in Markdown."""
    files: list[Path]


class Contender(NamedTuple):
    """An algorithm in a study."""

    label: str
    setting: Setting
    grid: Grid
    """What is tuned: field -> values."""
    rate: float = 0.0
    """Exponent of the gap in the number of trajectories that theory promises."""

    def tuned(self, values: Values) -> "Contender":
        """With the values that were chosen."""
        return self._replace(setting=with_values(self.setting, values))


class Study(NamedTuple):
    """A study; see the module."""

    summary: str
    """One line for `zopg list`."""
    seeds: int
    """Runs per algorithm by default."""
    run: Callable[[Request], Found]
    """Raises ValueError for bad input, before any work."""
    tune: Callable[[Request], Found] | None = None
    """Chooses the hyper-parameters; None where there are none."""


def open_study(name: str, request: Request) -> None:
    """Make the folder, or with `resume` make sure that it holds the same; raises ValueError for bad input."""
    if request.seeds < 2:
        raise ValueError(f"seeds = {request.seeds} must be >= 2: an interval needs a spread")
    asked = {"study": name} | {field: getattr(request, field) for field in ("seeds", "seed", "budget")}
    open_folder(request.out, "study", asked, request.resume)


def chosen_values(name: str, request: Request) -> Chosen:
    """The study's tuned values. Raises ValueError where the request would report a seed that they were tuned on."""
    data = json.loads((TUNED / f"{name}.json").read_text())
    shared = sorted(set(request.numbers) & set(data["tuning"]["seeds"]))
    if shared:
        raise ValueError(f"seeds has {shared[0]}, one of those that {name} was tuned on; report others")
    return data["chosen"]


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[str, list[Path]]:
    """Write the rows as `path`.csv and `path`.md; returns the Markdown and both paths."""
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (header, ["---"] * len(header), *rows)]
    text = "\n".join(lines) + "\n"
    files = [path.with_suffix(suffix) for suffix in (".csv", ".md")]
    write_csv(files[0], [header, *rows])
    write_atomically(files[1], lambda temporary: temporary.write_text(text))
    return text, files
