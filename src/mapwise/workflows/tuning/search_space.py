"""What a search looks through: a small grammar of ranges, and the settings that a trial's values make.

    inner_steps=1..5              whole numbers, both ends among them
    inner_lr=0.01..1:log          numbers, as many between 0.01 and 0.1 as between 0.1 and 1
    tasks=4..32:4                 every fourth number
    net.norm=batch,support        one of these
    net.hidden=64,64|128,128      one of these, where a value itself has commas

A name is a field of the learner, net.OPTION, a setting of the run by the name of its flag, or
optimizer.OPTION and schedule.OPTION.
"""

import dataclasses
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from mapwise.catalog.rows import SourceSettings
from mapwise.engine.settings import Execution
from mapwise.runs.flags import FLAGS
from mapwise.runs.settings import RunSettings
from mapwise.runs.words import flag
from mapwise.workflows.errors import WrongUse, sentence
from mapwise.workflows.train import check_settings

Value = int | float | str

_LUCK = "the luckiest seed says nothing of the settings, so train the best ones with several seeds afterwards"
_JUDGE = "it changes what judges a trial, so give it one value with {flag}"
_LENGTH = "trials are compared at the same steps, so give it one value with {flag}"
_PLACE = "it doesn't say what is learned, so give it one value with {flag}"
FIXED = {
    "seed": _LUCK,
    **dict.fromkeys(
        ("data", "label", "text", "encoder", "skip_bad", "part", "test_source", "test_ways", "test_shots"), _JUDGE
    ),
    **dict.fromkeys(("test_queries", "validation_episodes", "select"), _JUDGE),
    **dict.fromkeys(("steps", "validate_every"), _LENGTH),
    **dict.fromkeys(("init", "device", "threads", "track", *(f.name for f in dataclasses.fields(Execution))), _PLACE),
}
"""Settings of a run that are not searched, and why."""

_WRITE = "write a range such as inner_lr=0.01..1:log or inner_steps=1..5, or choices such as net.norm=batch,support"


@dataclass(frozen=True)
class Range:
    """All numbers between two ends, both among them."""

    name: str
    low: float
    high: float
    log: bool = False
    """As many below the geometric middle as above it."""
    step: float | None = None
    whole: bool = False

    @property
    def text(self) -> str:
        """As it is written."""
        suffix = ":log" if self.log else f":{self.step:g}" if self.step is not None else ""
        return f"{self.low!r}..{self.high!r}{suffix}"

    @property
    def ends(self) -> tuple[Value, ...]:
        """What must be allowed for the rest to be."""
        return self.low, self.high


@dataclass(frozen=True)
class Choice:
    """One of some texts."""

    name: str
    choices: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is written."""
        return ("|" if any("," in choice for choice in self.choices) else ",").join(self.choices)

    @property
    def ends(self) -> tuple[Value, ...]:
        """All of them."""
        return self.choices


Dimension = Range | Choice


def parsed(text: str) -> Dimension:
    """A range or choices from NAME=RANGE, whatever the name may be.

    Raises ValueError, in one sentence, for what is neither.

    >>> parsed("inner_lr=0.01..1:log")
    Range(name='inner_lr', low=0.01, high=1, log=True, step=None, whole=False)
    """
    name, equals, written = (part.strip() for part in text.partition("="))
    name = name.removeprefix("--").replace("-", "_")
    if not equals or not name or not written:
        raise ValueError(f"--search takes NAME=RANGE and {text!r} was given: {_WRITE}")
    if ".." in written:
        return _range(name, written)
    choices = tuple(choice.strip() for choice in written.split("|" if "|" in written else ","))
    if len(choices) == 1:
        dashed = re.fullmatch(r"([\d.e+]+)-([\d.e+]+)", written)
        better = f"{dashed[1]}..{dashed[2]}" if dashed else "a range such as 1..5, or several with commas"
        raise ValueError(f"--search {text} has one value: write {better}, or fix it with {flag(name)} {written}")
    if not all(choices):
        raise ValueError(f"--search {text} has an empty choice: leave out one separator")
    if len(set(choices)) < len(choices):
        twice = next(choice for choice in choices if choices.count(choice) > 1)
        raise ValueError(f"--search {text} names {twice!r} twice: leave one out")
    return Choice(name, choices)


def _range(name: str, written: str) -> Range:
    ends, *suffixes = written.split(":")
    low, high = (_number(end, f"{name}={written}") for end in ends.split("..", 1))
    whole = isinstance(low, int) and isinstance(high, int)
    if not low < high:
        raise ValueError(f"--search {name}={written} begins at {low} and ends at {high}: write the lower end first")
    if len(suffixes) > 1:
        raise ValueError(f"--search {name}={written} has more than one suffix: keep :log or a step such as :2")
    if suffixes == ["log"]:
        if low <= 0:
            raise ValueError(f"--search {name}={written} is logarithmic and begins at {low}: begin above 0")
        return Range(name, low, high, log=True, whole=whole)
    if not suffixes:
        return Range(name, low, high, whole=whole)
    try:
        step = _number(suffixes[0], "")
    except ValueError:
        raise ValueError(
            f"--search {name}={written} ends in {suffixes[0]!r}: write :log, or a step such as :2"
        ) from None
    if not 0 < step <= high - low:
        raise ValueError(
            f"--search {name}={written} has the step {step}: write one above 0 and at most {high - low:g}, "
            "the width of the range"
        )
    count = math.floor((high - low) / step + 1e-9)
    return Range(name, low, low + count * step, step=step, whole=whole and isinstance(step, int))


def _number(text: str, where: str) -> int | float:
    try:
        number: int | float = int(text) if re.fullmatch(r"\s*[+-]?\d+\s*", text) else float(text)
    except ValueError:
        raise ValueError(f"--search {where} has the end {text!r}, which is no number: {_WRITE}") from None
    if not math.isfinite(number):
        raise ValueError(f"--search {where} has the end {text!r}: write a number that is finite")
    return number


def dimensions(texts: Sequence[str], base: RunSettings, fixed: Collection[str]) -> list[Dimension]:
    """What the texts search, every end and choice tried on the settings they will change.

    base:  the settings of every trial but for what is searched.
    fixed: names that the command line gave one value, by the names used here.

    Raises WrongUse, in one sentence.
    """
    try:
        space = [parsed(text) for text in texts] or by_default(base, fixed)
        # A whole setting before its parts: net before net.norm, optimizer before optimizer.lr.
        space.sort(key=lambda dimension: "." in dimension.name)
        names = [dimension.name for dimension in space]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"--search names {name} twice: give all its values at once")
            if name in fixed:
                raise ValueError(f"{name} is searched and also fixed by {flag(name)}: leave one out")
            if f"test_{name}" in FIXED and getattr(base, f"test_{name}") is None:
                raise ValueError(f"{name} is searched and judges as well: fix what judges with {flag(f'test_{name}')}")
        chosen: list[Dimension] = []
        for dimension in space:
            chosen.append(_fitting(dimension, base, chosen))
        return chosen
    except ValueError as error:
        raise WrongUse(sentence(error)) from None


def _fitting(dimension: Dimension, base: RunSettings, before: Sequence[Dimension]) -> Dimension:
    """The dimension with numbers of the kind its setting takes; ValueError for ends that the setting refuses."""
    # A part is tried with every choice of its whole: optimizer.lr with each optimizer.
    wholes = [d for d in before if d.name == dimension.name.partition(".")[0]]
    settings = [base.put(d.name, end) for d in wholes for end in d.ends] or [base]
    for each in settings:
        _searchable(each, dimension.name)
    if isinstance(dimension, Range):
        fractions = all(_takes_fractions(dimension.name, each) for each in settings)
        if not fractions and not dimension.whole:
            raise ValueError(
                f"--search {dimension.name}={dimension.text}: {dimension.name} takes whole numbers: write whole ends"
            )
        if fractions:
            step = None if dimension.step is None else float(dimension.step)
            dimension = Range(dimension.name, float(dimension.low), float(dimension.high), dimension.log, step)
    for each in settings:
        for end in dimension.ends:
            check_settings(each.put(dimension.name, end))
    return dimension


def _takes_fractions(name: str, settings: RunSettings) -> bool:
    try:
        settings.put(name, 0.5)
    except ValueError:
        return False
    return True


def _searchable(settings: RunSettings, name: str) -> None:
    """Raises ValueError for a name that can't be searched, with the reason or the nearest name."""
    if name.startswith("source."):
        raise ValueError(f"{name} can't be searched: it says what is learned; set it by --{name}")
    if name in FIXED:
        raise ValueError(f"{name} can't be searched: {FIXED[name].format(flag=flag(name))}")
    settings.at(name)


def settable() -> list[str]:
    """The settings of every run that may be searched."""
    return [name for name in FLAGS if name not in FIXED]


def by_default(base: RunSettings, fixed: Collection[str]) -> list[Dimension]:
    """The learner's rates and scales, and the optimizer's: each from a tenth to ten times what it is.

    Raises ValueError when the learner has none.
    """
    names = [name for name in (*base.row.fields, "optimizer.lr") if name not in fixed]
    values = {name: base.get(name) for name in names}
    rates = {name: value for name, value in values.items() if isinstance(value, float) and value > 0}
    if not rates:
        raise ValueError(f"nothing of {base.learner} is searched unless you say what: {_WRITE}")
    return [Range(name, _short(value / 10), _short(value * 10), log=True) for name, value in rates.items()]


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def presently(space: Sequence[Dimension], base: RunSettings) -> dict[str, Value]:
    """What the settings are without a search, for a first trial; those that their range leaves out are not named."""
    values: dict[str, Value] = {}
    for dimension in space:
        now = base.get(dimension.name)
        if isinstance(dimension, Choice):
            same = next((choice for choice in dimension.choices if _same(choice, now)), None)
            values |= {} if same is None else {dimension.name: same}
        elif isinstance(now, (int, float)) and not isinstance(now, bool) and dimension.low <= now <= dimension.high:
            steps = 0.0 if dimension.step is None else (now - dimension.low) / dimension.step
            values |= (
                {dimension.name: now if dimension.whole else float(now)} if abs(steps - round(steps)) < 1e-9 else {}
            )
    return values


def _same(choice: str, now: Any) -> bool:
    if isinstance(now, (list, tuple)):
        return choice == (",".join(str(part) for part in now) or "none")
    return choice.lower() in (str(now).lower(), "none" if now is None else "")


def keeps_the_source(space: Sequence[Dimension]) -> bool:
    """Whether every trial reads the same episodes, so that they are opened once."""
    return not {dimension.name for dimension in space} & {field.name for field in dataclasses.fields(SourceSettings)}
