"""Flags that depend on the learner: its fields by their own names, the network's as --net.NAME,
the source's as --source.NAME.

Which flags there are is known only once the learner is. So an unknown `--inner-lr 0.4` is first rewritten
to `--set inner_lr=0.4`, and read by the field's type afterwards.
"""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

from mapwise.interfaces.errors import WrongUse

_TRUTH = ("true", "false", "yes", "no", "1", "0")


def rewritten(
    words: Sequence[str],
    takes_value: Mapping[str, bool],
    yes_no: Callable[[], Collection[str]],
) -> list[str]:
    """The command line with unknown flags as `--set NAME=VALUE`.

    takes_value: the flags that are known, and whether a value follows.
    yes_no:      names of fields that are booleans; asked for only when there is an unknown flag.

    Raises WrongUse for an unknown flag without a value.
    """
    out: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if word == "--":
            return [*out, word, *rest]
        if flag in takes_value or not flag.startswith("--"):
            out.append(word)
            if takes_value.get(flag) and not equals and rest:
                out.append(rest.pop(0))
            continue
        name = _name(flag)
        booleans = yes_no()
        if not equals:
            if name in booleans:
                value = rest.pop(0) if rest and rest[0].lower() in _TRUTH else "true"
            elif name.startswith("no_") and name[3:] in booleans:
                name, value = name[3:], "false"
            elif rest and not rest[0].startswith("--"):
                value = rest.pop(0)
            else:
                near = difflib.get_close_matches(flag, takes_value, n=1, cutoff=0)[0]
                raise WrongUse(f"there is no flag {flag} without a value: give it one, or did you mean {near}?")
        out += ["--set", f"{name}={value}"]
    return out


def booleans() -> set[str]:
    """The fields and the options of nets and sources of the whole catalog that are booleans."""
    from mapwise.catalog import LEARNERS, NETS, SOURCES, net_options

    fields = {name for row in LEARNERS.values() for name in row.fields if row.types[name] is bool}
    options = {f"net.{name}" for net in NETS for name, option in net_options(net).items() if option.annotation is bool}
    own = {
        f"source.{name}" for row in SOURCES.values() for name, about in row.options.items() if about.annotation is bool
    }
    return fields | options | own


def clashes(options: Collection[str]) -> list[str]:
    """Fields of catalog learners that a train option would hide, as sentences."""
    from mapwise.catalog import LEARNERS

    taken = {_name(option) for option in options}
    return [
        f"the field {name!r} of {learner} is also a train option: rename the field"
        for learner, row in LEARNERS.items()
        for name in row.fields
        if name in taken
    ]


def assigned(texts: Sequence[str]) -> dict[str, str]:
    """Values by their addresses from NAME=VALUE texts; raises WrongUse for a text that is none."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise WrongUse(f"--set takes NAME=VALUE and {text!r} was given: write --set {text}=VALUE")
        values[name] = value
    return values


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
