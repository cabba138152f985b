"""The record of one algorithm's runs: what was measured at fixed ledger positions, and the files it is kept in.

    <folder>/config.json         algorithm, problem, budget, positions; fixed when the folder is made
    <folder>/provenance.json     version, commit, torch, device, command, seeds
    <folder>/curves.parquet      tidy table, rewritten at every flush
    <folder>/state.safetensors   everything needed to continue

Every file is written under a temporary name and renamed, so a kill at any moment leaves a readable record. Curves are
always written from what the state holds: the two cannot disagree after a resume.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from envs.core import Cost
from envs.files import write_atomically

AXES = ("env_steps", "queries", "episodes", "hvps")
SCHEMA = pa.schema(
    [("run", pa.int64()), ("seed", pa.int64())]
    + [(axis, pa.int64()) for axis in AXES]
    + [("wall_s", pa.float64()), ("name", pa.string()), ("value", pa.float64())]
)


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(data, indent=2) + "\n"))


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the rows, the first being the header, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    write_atomically(path, write)


class Record:
    """Snapshots of R runs at G positions of the ledger.

    Position p is answered by the last iterate that had cost at most p: an iteration that takes a run past p leaves the
    iterate from before it, and what had been spent on it, in slot p. A slot's parameters are kept until scored.
    """

    def __init__(self, seeds: Sequence[int], positions: Sequence[int], dim: int, device: torch.device) -> None:
        runs, slots = len(seeds), len(positions)
        self.seeds = list(seeds)
        self.positions = torch.tensor(positions, dtype=torch.int64, device=device)
        # One slot more than positions: iterates that cross none are written there and never read.
        self.filled = torch.zeros(runs, slots + 1, dtype=torch.bool, device=device)
        self.scored = torch.zeros_like(self.filled)
        self.spent = torch.zeros(len(AXES), runs, slots + 1, dtype=torch.int64, device=device)
        self.wall = torch.zeros(runs, slots + 1, dtype=torch.float64, device=device)
        self.values: dict[str, Tensor] = {}
        self._params = torch.zeros(runs, slots + 1, dim, device=device)
        self._rows = torch.arange(runs, device=device)

    def capture(self, crossed: Tensor, params: Tensor, spent: Cost, wall: float, measures: dict[str, Tensor]) -> None:
        """Put the iterate `params` [R, d] that had cost `spent` into each run's last slot of `crossed` [R, G] bool."""
        last = crossed.shape[1] - 1 - crossed.flip(1).to(torch.int8).argmax(1)
        slot = torch.where(crossed.any(1), last, crossed.shape[1])
        self._params = self._params.to(params.dtype)
        self._params[self._rows, slot] = params
        self.filled[self._rows, slot] = True
        self.wall[self._rows, slot] = wall
        for axis, row in zip(AXES, self.spent, strict=True):
            row[self._rows, slot] = getattr(spent, axis)
        for name, value in measures.items():
            self._column(name)[self._rows, slot] = value.to(torch.float64)

    def unscored(self) -> tuple[Tensor, Tensor, Tensor]:
        """Runs [n], slots [n] and parameters [n, d] of the snapshots that wait for a score."""
        runs, slots = (self.filled & ~self.scored)[:, :-1].nonzero(as_tuple=True)
        return runs, slots, self._params[runs, slots]

    def score(self, runs: Tensor, slots: Tensor, measures: dict[str, Tensor]) -> None:
        """Note the measures [n] of snapshots."""
        for name, value in measures.items():
            self._column(name)[runs, slots] = value.to(torch.float64)
        self.scored[runs, slots] = True

    def _column(self, name: str) -> Tensor:
        if name not in self.values:
            self.values[name] = torch.full_like(self.wall, torch.nan)
        return self.values[name]

    def table(self) -> pa.Table:
        """The tidy table of everything scored so far; a measure that is missing at a position has no row."""
        runs, slots = (self.filled & self.scored)[:, :-1].nonzero(as_tuple=True)
        seeds = torch.tensor(self.seeds)[runs.cpu()]
        fixed = {"run": runs, "seed": seeds} | dict(zip(AXES, self.spent[:, runs, slots], strict=True))
        fixed["wall_s"] = self.wall[runs, slots]
        columns = {name: value.cpu().numpy() for name, value in fixed.items()}
        tables = []
        for name, values in sorted(self.values.items()):
            value = values[runs, slots].cpu()
            there = ~torch.isnan(value)
            kept = {key: column[there.numpy()] for key, column in columns.items()}
            names = pa.array([name] * int(there.sum()), pa.string())
            tables.append(pa.table(kept | {"name": names, "value": value[there].numpy()}, schema=SCHEMA))
        return pa.concat_tables(tables) if tables else SCHEMA.empty_table()

    def pack(self) -> dict[str, Tensor]:
        """The tensors, for a checkpoint made when nothing waits for a score."""
        fixed = {"filled": self.filled, "scored": self.scored, "spent": self.spent, "wall": self.wall}
        return fixed | {f"value.{name}": value for name, value in self.values.items()}

    def unpack(self, parts: dict[str, Tensor]) -> None:
        """Continue from a checkpoint."""
        self.filled, self.scored = parts["filled"], parts["scored"]
        self.spent, self.wall = parts["spent"], parts["wall"]
        self.values = {name.removeprefix("value."): value for name, value in parts.items() if name.startswith("value.")}


def write_curves(path: Path, table: pa.Table) -> None:
    """Write the tidy table, atomically."""
    write_atomically(path, lambda temporary: pq.write_table(table, temporary))
