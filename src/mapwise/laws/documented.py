"""The law that a learner's docstring says what it does."""

import re

from mapwise.core.learner import WAIVABLE
from mapwise.laws.case import Case, Finding


def documented(case: Case) -> Finding:
    """The docstring says what it does, with lines Paper, Fast, Loss and Differs."""
    text = type(case.learner).__dict__.get("__doc__") or ""
    # A dataclass without a docstring is given its signature for one.
    if not text or text.startswith(f"{type(case.learner).__name__}("):
        return False, f"the class {type(case.learner).__name__} has no docstring"
    if not re.match(r"\s*\w", text.partition("Paper:")[0]):
        return False, "the docstring doesn't begin with a sentence that says what the learner does"
    missing = [part for part in ("Paper", "Fast", "Loss", "Differs") if not re.search(rf"^ *{part}: +\S", text, re.M)]
    if missing:
        return False, f"the docstring has no line {', '.join(f'{part}: ...' for part in missing)}"
    silent = [law for law in sorted(WAIVABLE - case.learner.keeps) if f"`{law}`" not in text]
    if silent:
        return False, f"the law `{silent[0]}` is waived and the docstring doesn't say why"
    return True, "the docstring names the paper, fast, the loss and the differences"
