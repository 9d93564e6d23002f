"""Evaluations of trainings under several seeds: what a method gives, and not one of its trainings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapwise.core.estimate import Estimate
from mapwise.core.fields import check_arguments, check_whole
from mapwise.core.seeds import check_seed
from mapwise.engine.results import Paired, Report

FEWEST = 3
"""Seeds from which a difference between learners may be more than luck."""


@dataclass(frozen=True)
class OverSeeds:
    """Evaluations of one learner's trainings on the same episodes, one of each seed.

    Raises ValueError for fewer than two, and for other episodes.
    """

    seeds: tuple[int, ...]
    reports: tuple[Report, ...]
    """In the order of the seeds."""

    def __post_init__(self) -> None:
        if len(self.seeds) < 2:
            raise ValueError(f"{len(self.seeds)} seed has no interval over seeds: give 2 or more, {FEWEST} to compare")
        for report in self.reports[1:]:
            Paired.of(self.reports[0], report)  # raises

    @property
    def estimate(self) -> Estimate:
        """The mean over seeds with its 95 % interval by Student's t; each seed counts once."""
        return Estimate.of(np.array([report.estimate.mean for report in self.reports]))

    def to_json(self) -> dict[str, Any]:
        """The mean over seeds, and each seed's own number, as one JSON-ready object."""
        own, estimate = self.reports[0].to_json(), self.estimate
        shared = ("learner", "source", "split", "ways", "shots", "queries", "episodes", "transductive", "digest")
        counts = ("judged_classes", "all_classes")
        metric = self.reports[0].metric
        return {
            **{name: own[name] for name in (*shared, *counts) if name in own},
            "metric": metric,
            metric: estimate.mean,
            "ci95": estimate.ci95,
            "interval": "seeds",
            "seeds": [
                {"seed": seed, metric: report.estimate.mean, "ci95": report.estimate.ci95}
                for seed, report in zip(self.seeds, self.reports, strict=True)
            ],
        }


def seeds_of(seeds: int | Sequence[int], first: int = 0) -> tuple[int, ...]:
    """So many seeds from the first, or these; raises ValueError for fewer than two, and for one that comes twice."""
    check_arguments(seeds_of, {"seeds": seeds})
    if isinstance(seeds, Sequence):
        numbers = tuple(seeds)
    else:
        check_whole("seeds", seeds, 2)
        numbers = tuple(range(first, first + seeds))
    for seed in numbers:
        check_seed(seed)
    if len(numbers) < 2 or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds is {list(numbers)}: give 2 or more different seeds, or their number, such as 3")
    return numbers


@dataclass(frozen=True)
class PairedSeeds:
    """The difference of two learners over the same seeds and episodes: first minus second.

    difference: of the means of each seed, with its 95 % interval by Student's t over seeds.
    pairs:      of each seed by itself, with intervals over episodes.
    """

    seeds: tuple[int, ...]
    difference: Estimate
    pairs: tuple[Paired, ...]

    @classmethod
    def of(cls, a: OverSeeds, b: OverSeeds) -> "PairedSeeds":
        """Pair seed with seed; raises ValueError for other seeds or other episodes."""
        check_same_seeds(a.seeds, b.seeds)
        others = dict(zip(b.seeds, b.reports, strict=True))
        pairs = tuple(Paired.of(own, others[seed]) for seed, own in zip(a.seeds, a.reports, strict=True))
        return cls(a.seeds, Estimate.of(np.array([pair.difference.mean for pair in pairs])), pairs)

    @property
    def conclusive(self) -> bool:
        """Whether a difference is shown: by three seeds or more, all of one sign, whose interval excludes zero."""
        means = np.array([pair.difference.mean for pair in self.pairs])
        agree = bool((means > 0).all() or (means < 0).all())
        return len(self.seeds) >= FEWEST and agree and abs(self.difference.mean) > self.difference.ci95


def check_same_seeds(first: Sequence[int], second: Sequence[int]) -> None:
    """Raises ValueError for other seeds, which can't be paired."""
    if set(first) != set(second):
        shown = " and ".join(", ".join(map(str, seeds)) for seeds in (first, second))
        raise ValueError(f"the seeds differ ({shown}): train both under the same seeds, which are compared one by one")
