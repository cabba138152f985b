"""The ledger: what each run has spent, what it may still spend, and why it stopped."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from envs.core import Cost

Unit: TypeAlias = Literal["env_steps", "queries"]

RUNNING, BUDGET, NON_FINITE = "running", "budget", "non-finite"
PURPOSE = "purpose."


class Ledger:
    """Spending of R runs against one budget in one currency. All methods work without waiting for the device."""

    def __init__(self, runs: int, unit: Unit, budget: int, targets: tuple[float, ...], device: torch.device) -> None:
        self.unit, self.budget, self.targets = unit, budget, targets
        self.spent = Cost.zeros(runs, device)
        self.failures = torch.zeros(runs, dtype=torch.int64, device=device)
        """[R] evaluations that failed; they were paid for."""
        self.by_purpose: dict[str, Tensor] = {}
        """purpose -> [R] queries of a federated algorithm."""
        self.active = torch.ones(runs, dtype=torch.bool, device=device)
        """[R] runs that go on."""
        self.reasons = [RUNNING, BUDGET, NON_FINITE]
        self._reason = torch.zeros(runs, dtype=torch.int64, device=device)
        self._hits = torch.full((runs, len(targets)), -1, dtype=torch.int64, device=device)

    @property
    def position(self) -> Tensor:
        """[R] spent so far in the currency of the budget."""
        return getattr(self.spent, self.unit)

    def admit(self, worst_case: int) -> None:
        """Stop the runs that an iteration of at most `worst_case` could take over the budget."""
        self.stop(self.position + worst_case > self.budget, BUDGET)

    def charge(self, cost: Cost, failures: Tensor, by_purpose: dict[str, Tensor] | None = None) -> Tensor:
        """Add what an iteration cost to the runs that are active; returns them, [R] bool."""
        for purpose, queries in (by_purpose or {}).items():
            queries = torch.where(self.active, queries, 0)
            self.by_purpose[purpose] = self.by_purpose.get(purpose, torch.zeros_like(queries)) + queries
        self.spent = Cost(*torch.stack(self.spent) + torch.where(self.active, torch.stack(cost), 0))
        self.failures = self.failures + torch.where(self.active, failures, 0)
        return self.active

    def communication(self) -> dict[str, Tensor]:
        """What a federated algorithm has spent besides queries, and on what, [R] each; nothing for others."""
        if not self.by_purpose:
            return {}
        queries = {f"queries_{purpose}": count for purpose, count in self.by_purpose.items()}
        return queries | {"uplink_floats": self.spent.uplink_floats, "downlink_floats": self.spent.downlink_floats}

    def stop(self, where: Tensor, reason: str) -> None:
        """Stop the active runs among `where` [R]; the first reason stays."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        stopped = where & self.active
        self._reason = torch.where(stopped, self.reasons.index(reason), self._reason)
        self.active = self.active & ~where

    def reached(self, runs: Tensor, positions: Tensor, scores: Tensor) -> None:
        """Note evaluations, in order of position: `scores` [n], higher is better, of `runs` [n] at `positions` [n]."""
        for i, target in enumerate(self.targets):
            hit = scores >= target
            first = torch.full_like(self._hits[:, i], torch.iinfo(torch.int64).max)
            first = first.scatter_reduce(0, runs[hit], positions[hit], "amin")
            known, found = self._hits[:, i] >= 0, first < torch.iinfo(torch.int64).max
            self._hits[:, i] = torch.where(known | ~found, self._hits[:, i], first)

    def hits(self) -> Tensor:
        """First evaluated position at which each target was reached, [R, targets]; -1 where it was not."""
        return self._hits

    def why(self) -> list[str]:
        """The reason each run stopped, or "running"."""
        return [self.reasons[code] for code in self._reason.tolist()]

    def pack(self) -> dict[str, Tensor]:
        """The tensors, for a checkpoint; the names of the reasons are packed by the caller."""
        spent = {f"spent.{name}": value for name, value in self.spent._asdict().items()}
        spent |= {f"{PURPOSE}{name}": queries for name, queries in self.by_purpose.items()}
        return spent | {
            "failures": self.failures, "active": self.active, "reason": self._reason, "hits": self._hits,
        }  # fmt: skip

    def unpack(self, parts: dict[str, Tensor], reasons: list[str]) -> None:
        """Continue from a checkpoint."""
        self.spent = Cost(*(parts[f"spent.{name}"] for name in Cost._fields))
        self.by_purpose = {key.removeprefix(PURPOSE): part for key, part in parts.items() if key.startswith(PURPOSE)}
        self.failures, self.active = parts["failures"], parts["active"]
        self._reason, self._hits, self.reasons = parts["reason"], parts["hits"], list(reasons)
