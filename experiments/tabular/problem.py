"""A table made a federated problem: rows to train a classifier, rows for clients, rows to test on.

    training rows   standardise the features, and train the network by cross-entropy for a few steps
    clients' rows   f_c = 1 - metric
    test rows       the metric of the iterate, reported beside F and never charged

The three are disjoint and hold the classes in equal proportions. All randomness is that of the task's seed.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from envs.algorithm import check_range
from envs.random import Purpose, Stream, streams
from experiments.federated import FederatedProblem
from experiments.objective_problem import CPU
from experiments.tabular.tables import Table
from zeroth_order.federated.partition import Dirichlet, Partition, class_quantiles
from zeroth_order.objectives.metric import F1, Classifier, FederatedMetric, Metric, divided

_F1, _DIRICHLET = F1(), Dirichlet(1.0)


@dataclass(frozen=True)
class MetricTask:
    """Everything but the table."""

    metric: Metric = _F1
    partition: Partition = _DIRICHLET
    """How the clients' rows are dealt."""
    clients: int = 7
    """N >= 1. Paper: 7."""
    hidden: tuple[int, ...] = (30, 14)
    """Widths of the hidden layers. Paper: 30, 14."""
    training: int = 500
    """Rows that the network is trained on, >= 1."""
    rows: int = 2_800
    """Rows of all clients together, >= 1."""
    test: int = 10_000
    """Rows to test on, >= 1."""
    steps: int = 5
    """Adam steps on all training rows, >= 0: few, so that something is left to gain. Paper: ten of L-BFGS."""
    rate: float = 0.01
    """Their size, > 0."""
    seed: int = 0
    """Of splits, partition and initial network."""

    def __post_init__(self) -> None:
        for name in ("clients", "training", "rows", "test"):
            check_range(name, getattr(self, name), 1)
        check_range("steps", self.steps, 0)
        check_range("rate", self.rate, 0.0, open_low=True)
        check_range("seed", self.seed, 0)

    def problem(self, table: Table, dtype: torch.dtype = torch.float64, place: torch.device = CPU) -> "MetricProblem":
        """The problem. Raises ValueError where the table has too few rows, in all or of a class."""
        stream = streams([self.seed]).fold(Purpose.INITIAL)
        training, rows, test = self._split(table, stream)
        features = standardised(table.features, training)
        classifier = Classifier((features.shape[1], *self.hidden, len(table.classes)))
        parameters = trained(
            classifier, features[training], table.labels[training], self.steps, self.rate, stream.fold(Purpose.TRAIN)
        )
        owners = self.partition.owners(table.labels[rows], self.clients, self.seed)
        held = divided(features[rows], table.labels[rows], owners)
        pooled = divided(features[test], table.labels[test], torch.zeros(len(test), dtype=torch.int64))
        objective = FederatedMetric(self.metric, classifier, parameters, held)
        return MetricProblem(
            objective=objective, dtype=dtype, place=place, task=self, table=table.name,
            pooled=replace(objective, rows=pooled),
        )  # fmt: skip

    def _split(self, table: Table, stream: Stream) -> tuple[Tensor, ...]:
        """Which rows are for training, for clients and for tests, [n_i] int64 each."""
        sizes = torch.tensor([self.training, self.rows, self.test], dtype=torch.float64)
        if int(sizes.sum()) > len(table.labels):
            raise ValueError(
                f"training + rows + test = {int(sizes.sum())}, table {table.name} has {len(table.labels)} rows"
            )
        edges = sizes.cumsum(0) / len(table.labels)
        part = (class_quantiles(table.labels, stream)[:, None] > edges).sum(1)
        parts = tuple((part == i).nonzero()[:, 0] for i in range(3))
        for name, those in zip(("training", "rows", "test"), parts, strict=True):
            counts = table.labels[those].bincount(minlength=len(table.classes))
            if int(counts.min()) == 0:
                lacking = table.classes[int(counts.argmin())]
                raise ValueError(f"{name} = {len(those)} rows of table {table.name} hold none of class {lacking}")
        return parts


@dataclass(frozen=True, eq=False)
class MetricProblem(FederatedProblem):
    """Minimise F = sum_c p_c (1 - metric_c), from the network as it was trained."""

    task: MetricTask = field(kw_only=True)
    table: str = field(kw_only=True)
    pooled: FederatedMetric = field(kw_only=True, repr=False)
    """One client that has all test rows."""

    def init(self, stream: Stream) -> Tensor:
        """x = 1/2, no change of the network."""
        return torch.full((len(stream.seeds), self.dim), 0.5, dtype=self.dtype, device=self.place)

    def score(self, points: Tensor, stream: Stream) -> dict[str, Tensor]:
        """-F, and the metric on the test rows."""
        tested = self.pooled.evaluate(points[:, None], stream).values[:, 0]
        return super().score(points, stream) | {"test metric": 1 - tested}


def standardised(features: Tensor, training: Tensor) -> Tensor:
    """Features [n, inputs] less their mean over the rows `training`, over their deviation there; constant ones as 0."""
    known = features[training]
    deviation = known.std(0, correction=0)
    return (features - known.mean(0)) / torch.where(deviation > 0, deviation, torch.inf)


def trained(
    classifier: Classifier, features: Tensor, labels: Tensor, steps: int, rate: float, stream: Stream
) -> Tensor:
    """Parameters [d] float64 after `steps` of Adam on the mean cross-entropy of all rows [n, inputs]."""
    parameters = classifier.init(stream).requires_grad_()
    optimizer = torch.optim.Adam([parameters], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = classifier.logits(parameters, features.T[None])
        torch.nn.functional.cross_entropy(logits, labels[None]).backward()
        optimizer.step()
    return parameters.detach()[0]
