"""Code of the user's own: --import MODULE, and MODULE:NAME where it stands for a learner, a source or an encoder."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from mapwise.interfaces.cli.app import IMPORT
from mapwise.workflows.errors import WrongUse

_TAKING_NAMES = ("train", "tune", "check", "fit")
"""Commands whose words may be MODULE:NAME. To write it there allows its code to run; to have it in a file doesn't."""
_FLAGS = ("--encoder", "--learner", "--source", "--test-source", "--json", "--skip-bad", "--help")
_NAME = re.compile(r"(?:--[\w.-]+=)?([A-Za-z_]\w*(?:\.\w+)*:[A-Za-z_]\w*)")


def import_modules(words: Sequence[str]) -> list[str]:
    """Import what a command line names, and give its words without --import MODULE; raises WrongUse where it can't."""
    end = list(words).index("--") if "--" in words else len(words)
    rest, modules, place = [], [], 0
    while place < end:
        word = words[place]
        if word == IMPORT:
            if place + 1 >= end:
                raise WrongUse(f"{IMPORT} needs the name of a module: {IMPORT} my_module")
            modules.append(words[place + 1])
            place += 1
        elif word.startswith(f"{IMPORT}="):
            modules.append(word.partition("=")[2])
        else:
            rest.append(word)
        place += 1
    typed = [name.partition(":")[0] for name in code_names(rest)]
    if modules or typed:
        sys.path.append(str(Path.cwd()))  # last, so that no file here stands for an installed package
        importlib.invalidate_caches()
    if rest and rest[0] in _TAKING_NAMES:
        # A family of encoders, such as hf, is no module.
        modules += [name for name in typed if rest[0] != "fit" or importlib.util.find_spec(name.split(".")[0])]
    if typed and not modules:
        sys.path.pop()
    for name in modules:
        _import(name)
    return [*rest, *words[end:]]


def code_names(words: Sequence[str]) -> list[str]:
    """Each MODULE:NAME behind the first of these words, by itself or as the value of a flag that takes one."""
    places = [(before, word) for before, word in pairwise(words) if not _is_other(before, word)]
    return [match[1] for _, word in places if (match := _NAME.fullmatch(word)) and not Path(word).exists()]


def _is_other(before: str, word: str) -> bool:
    """Whether a word is the value of a flag that takes no such name, as in --device cuda:a."""
    named, equals, _ = word.partition("=")
    flag = named if equals and named.startswith("--") else before
    return flag.startswith("--") and flag not in _FLAGS


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise WrongUse(f"the module {name} needs {error.name}, which is not installed: install it") from error
        raise WrongUse(f"there is no module {name} here or among the installed packages: correct its name") from None
    except Exception as error:  # whatever the user's code raises
        reason = f"{type(error).__name__}: {error}"
        raise WrongUse(f"the module {name} can't be imported ({reason}): correct it") from error
