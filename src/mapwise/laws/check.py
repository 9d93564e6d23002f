"""The laws every learner keeps, and `check`, which tests a learner against them.

Each law is a test of a learner on a source of tasks. An instance may waive some of them, by leaving
them out of `keeps`, with the reason in its docstring.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from mapwise.core.fields import check_arguments, check_whole
from mapwise.core.learner import WAIVABLE, Learner, check_tasks
from mapwise.core.older_source import with_problem
from mapwise.core.renamed import renamed
from mapwise.core.seeds import check_seed
from mapwise.core.source import TaskSource
from mapwise.laws.abilities import causal, embeds, resumes, steps_from_start, traced, unrolled, votes_add_up
from mapwise.laws.case import Case, Finding
from mapwise.laws.documented import documented
from mapwise.laws.gradient import finite_differences
from mapwise.laws.mapping import mapped_alike, repeats, travels
from mapwise.laws.symmetries import alone, order_free, padding_free, relabel_free, weights_count
from mapwise.laws.training import learned_in_place, learns, measures, query_loss


@dataclass(frozen=True)
class Law:
    """One law, and how a learner is examined for it."""

    number: int
    name: str
    examine: Callable[[Case], Finding]
    """Examines a case whether or not the learner waives the law. Its docstring is what the law says."""

    @property
    def statement(self) -> str:
        """What the law says."""
        text = self.examine.__doc__ or ""
        return f"{text[:1].lower()}{text[1:].rstrip('.')}"

    def judge(self, case: Case) -> Finding:
        """The finding; an error of the learner counts as one."""
        try:
            return self.examine(case)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"

    @property
    def waivable(self) -> bool:
        """Whether an instance may waive it."""
        return self.name in WAIVABLE


@renamed
class Verdict(NamedTuple):
    """Whether a learner keeps one law."""

    law: Law
    holds: bool | None
    """None: waived by the learner, or not applicable; see `detail`."""
    detail: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; holds is None where the law is waived or doesn't apply."""
        law = self.law
        return {
            "number": law.number,
            "law": law.name,
            "says": law.statement,
            "holds": self.holds,
            "detail": self.detail,
        }

    def __str__(self) -> str:
        word = {True: "kept", False: "BROKEN", None: "waived"}[self.holds]
        return f"{self.law.number:2} {self.law.name:<10} {word:<7} {self.detail}"


class BrokenLaw(AssertionError):
    """A learner breaks a law that it doesn't waive."""


class Verdicts(tuple[Verdict, ...]):
    """The verdicts of all laws, in their order; `print` shows a line for each."""

    __slots__ = ()

    @property
    def broken(self) -> tuple[Verdict, ...]:
        """The verdicts of the laws that are broken and not waived."""
        return tuple(verdict for verdict in self if verdict.holds is False)

    def raise_if_broken(self) -> None:
        """Raise BrokenLaw, naming every broken law with its statement and the evidence."""
        if self.broken:
            lines = [f"law {v.law.number} `{v.law.name}`: {v.law.statement}\n    seen: {v.detail}" for v in self.broken]
            raise BrokenLaw("the learner breaks\n" + "\n".join(lines))

    def __str__(self) -> str:
        return "\n".join(str(verdict) for verdict in self)


def check(learner: Learner, source: TaskSource, *, seed: int = 0, steps: int = 100, lr: float = 0.01) -> Verdicts:
    """Examine a learner for every law, on tasks of a source.

    source: what the learner trains on; its split "val" holds the unseen tasks. A small net on a toy family
            takes seconds.
    seed:   seed of the initial params and of the numbers that the laws draw.
    steps:  steps of the training for law 2, with Adam at the rate `lr`.

    Returns one Verdict per law; `.raise_if_broken()` turns broken ones into an error. Law 4 is tested within
    this process, on a new object with the same fields. The contents of a docs page are not tested.

    >>> mw.check(learner, source).raise_if_broken()
    """
    check_arguments(check, locals())
    check_seed(seed)
    check_whole("steps", steps, 1)
    source = with_problem(source)
    check_tasks(learner, source(0))
    case = Case(learner, source, seed, steps, lr)
    return Verdicts(_judge(law, case) for law in LAWS)


def _judge(law: Law, case: Case) -> Verdict:
    waived = law.waivable and law.name not in case.learner.keeps
    holds, detail = law.judge(case)
    if waived:
        held = {True: "it holds here", False: f"and broken here: {detail}", None: detail}[holds]
        return Verdict(law, None, f"the learner waives it; {held}")
    return Verdict(law, holds, detail)


LAWS: tuple[Law, ...] = (
    Law(1, "map", mapped_alike),
    Law(2, "learns", learns),
    Law(3, "repeats", repeats),
    Law(4, "travels", travels),
    Law(5, "gradient", finite_differences),
    Law(6, "documented", documented),
    Law(7, "order", order_free),
    Law(8, "relabel", relabel_free),
    Law(9, "padding", padding_free),
    Law(10, "alone", alone),
    Law(11, "causal", causal),
    Law(12, "votes", votes_add_up),
    Law(13, "embeds", embeds),
    Law(14, "traced", traced),
    Law(15, "steps", steps_from_start),
    Law(16, "query_loss", query_loss),
    Law(17, "measure", measures),
    Law(18, "weights", weights_count),
    Law(19, "learned", learned_in_place),
    Law(20, "unrolled", unrolled),
    Law(21, "resumes", resumes),
)
"""Every law, in order."""
