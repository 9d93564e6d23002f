"""Torch's optimizers and schedules by name."""

import ast
import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mapwise.core.fields import quote
from mapwise.core.spelling import suggestion


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of "Name option=value option=value".

    >>> parse("SGD lr=0.1 momentum=0.9")
    ('SGD', {'lr': 0.1, 'momentum': 0.9})
    """
    if not isinstance(text, str):
        raise ValueError(f"{quote(text)} is no name: give a torch name with options, such as 'Adam lr=0.001'")
    if not text.strip():
        raise ValueError("the name is empty: give a torch name with options, such as 'Adam lr=0.001'")
    name, *options = text.split()
    options_by_name = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"the option {_short(option)!r} of {_short(text)!r} has no value: write option=value")
        try:
            options_by_name[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two for thousands of brackets
            options_by_name[key] = value
    return name, options_by_name


def optimizer_of(text: str, leaves: list[Tensor]) -> torch.optim.Optimizer | None:
    """The torch optimizer over these tensors; None when there are none.

    Raises ValueError for a name torch.optim lacks or an option it does not take.
    """
    name, options = parse(text)
    known = {n: c for n, c in vars(torch.optim).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)}
    # LBFGS evaluates the loss by itself, and SparseAdam wants sparse gradients.
    for unfit in ("Optimizer", "LBFGS", "SparseAdam"):
        known.pop(unfit, None)
    make = _lookup(name, known, "optimizer")
    if not leaves:
        return None
    _build(lambda: _one_step(make, leaves[0].device, options), text)
    rule: torch.optim.Optimizer = _build(lambda: make(leaves, **options), text)
    return rule


def schedule_of(text: str | None, optimizer: torch.optim.Optimizer | None, steps: int, warmup: int = 0) -> Any:
    """The torch learning-rate schedule on this optimizer; None for none.

    "cosine" and "linear" go from the optimizer's rate to zero over the steps of the run that a warm-up
    leaves. Raises ValueError for a name torch lacks and for options it doesn't take.
    """
    rest = max(1, steps - warmup)
    if text is None or optimizer is None:
        return None
    short = {
        "cosine": f"CosineAnnealingLR T_max={rest}",
        "linear": f"LinearLR start_factor=1.0 end_factor=0.0 total_iters={rest}",
    }
    name, options = parse(short.get(text, text))
    schedules = torch.optim.lr_scheduler
    known = {n: c for n, c in vars(schedules).items() if inspect.isclass(c) and issubclass(c, schedules.LRScheduler)}
    # ReduceLROnPlateau moves by a metric and not by the step; the rest are no schedules by themselves.
    for unfit in ("ReduceLROnPlateau", "LRScheduler", "_LRScheduler", "ChainedScheduler", "SequentialLR"):
        known.pop(unfit, None)
    make = _lookup(name, known, "schedule")
    # Some options are refused only when the schedule moves: let a copy move before the run does.
    _build(lambda: _run_schedule(make, copy.deepcopy(optimizer), options), text)
    return _build(lambda: make(optimizer, **options), text)


def _one_step(make: Callable[..., Any], device: torch.device, options: dict[str, Any]) -> None:
    """Some options are refused only when a step is taken: let a weight of its own take one."""
    weight = torch.zeros(2, 2, device=device, requires_grad=True)
    weight.grad = torch.ones_like(weight)
    make([weight], **options).step()
    if not weight.isfinite().all():
        raise ValueError("a step leads to NaN or infinity")


def _run_schedule(make: Callable[..., Any], optimizer: torch.optim.Optimizer, options: dict[str, Any]) -> None:
    schedule = make(optimizer, **options)
    optimizer.step()
    schedule.step()


def _lookup(name: str, known: dict[str, Any], what: str) -> Any:
    if name not in known:
        raise ValueError(f"torch has no {what} {_short(name)!r}: {suggestion(name, known)}")
    return known[name]


def _build(make: Callable[[], Any], text: str) -> Any:
    try:
        return make()
    except Exception as error:  # whatever torch makes of options that it doesn't check
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"torch refuses {_short(text)!r} ({_short(reason)}): correct its options") from None


def _short(text: str) -> str:
    return text if len(text) < 200 else f"{text[:200]}..."
