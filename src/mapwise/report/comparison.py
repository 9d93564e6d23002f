"""A comparison under one protocol as a table: for the terminal, and in Markdown for a page."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mapwise.core.format import ABSENT, plain, share
from mapwise.engine.results import Contender, Paired, Report
from mapwise.report import table

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = {
    "learner": "",
    "inductive": "accuracy with its 95 % interval, every query by itself",
    "transductive": "the same, normalised by all queries of a task",
    "minus": "paired difference on the same test episodes, inductive",
    "NLL": "negative log-likelihood of a query in nats",
    "ECE": "calibration error",
    "training": "seconds by the clock",
    "processor": "seconds of processor time in training",
    "adapting": "milliseconds to adapt to a task and predict its queries",
    "memory": "MB that training took at its peak",
    "adapted": "numbers that a task changes",
    "chosen": "rates, on the validation split",
}
"""Column -> what it holds; the rest of the names has the meaning they have everywhere."""

EXPLAINED = "; ".join(f"{name}: {meaning}" for name, meaning in COLUMNS.items() if meaning and name != "minus")
SAME = "the same"


def ranked(contenders: Sequence[Contender]) -> list[Contender]:
    """The most accurate first, by the number that stands alone where there is one."""
    return sorted(contenders, key=lambda one: -(one.inductive or one.own).estimate.mean)


def comparison_rows(contenders: Sequence[Contender], against: str) -> tuple[list[str], list[list[str]]]:
    """Head and cells, the most accurate first.

    against: the contender that the others' paired differences are taken to; without it they have none.
    """
    reference = next((one.inductive for one in contenders if one.name == against), None)
    head = [f"minus {against}" if name == "minus" else name for name in COLUMNS]
    return head, [_cells(one, reference) for one in ranked(contenders)]


def _cells(one: Contender, reference: Report | None) -> list[str]:
    pair = None
    if reference is not None and one.inductive is not None and one.inductive is not reference:
        pair = Paired.of(one.inductive, reference, without_digest=True)  # rows of one protocol, some from older files
    rates = ", ".join(f"{name} {table.searched_value(value)}" for name, value in one.chosen.items())
    return [
        one.name,
        ABSENT if one.inductive is None else table.percent(one.inductive.estimate),
        SAME if one.transductive is None else table.percent(one.transductive.estimate),
        ABSENT if pair is None else table.difference(pair, "accuracy").removesuffix(" points"),
        plain(one.own.nll),
        share(one.own.ece),
        f"{one.seconds:,.0f} s",
        f"{one.processor_seconds:,.0f} s",
        f"{plain(one.own.adapt_ms, 1)} ms",
        ABSENT if one.peak_mb is None else f"{one.peak_mb:,.0f} MB",
        f"{one.adapted:,}",
        rates or ABSENT,
    ]


def notes(contenders: Sequence[Contender]) -> list[str]:
    """What a reader of the table must know, in sentences."""
    protocols = list(dict.fromkeys(one.own.protocol.line().rsplit(",", 2)[0] for one in contenders))
    return [
        *(f"Test episodes: {line}, the same for every row." for line in protocols),
        f"{EXPLAINED[0].upper()}{EXPLAINED[1:]}. Differences in points. Where the transductive number is "
        f'"{SAME}", no prediction depends on its neighbours under any norm.',
        f"{table.VERDICT_RULE}",
    ]


def comparison_table(contenders: Sequence[Contender], against: str, title: str) -> "Table":
    """The comparison for a terminal."""
    shown = table.new_table(title)
    head, rows = comparison_rows(contenders, against)
    for name in head:
        shown.add_column(name, justify="left" if name in ("learner", "chosen") else "right", overflow="fold")
    for row in rows:
        table.add_row(shown, row)
    return shown


def comparison_markdown(contenders: Sequence[Contender], against: str) -> str:
    """The comparison for a page."""
    return markdown(*comparison_rows(contenders, against))


def markdown(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)
