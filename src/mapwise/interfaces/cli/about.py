"""The commands about mapwise itself: a demo, what there is, and whether the installation is sound."""

from collections.abc import Sequence
from typing import Annotated

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.printing import answer, show
from mapwise.workflows.allocator import keep_freed_memory
from mapwise.workflows.errors import FAILED


@app.command(epilog="Example: mapwise demo")
def demo(json: Json = False) -> None:
    """Train on drawn letters for a minute, judge on alphabets never seen, and write a report."""
    from mapwise.interfaces.progress import Terminal
    from mapwise.interfaces.shown import demonstrated
    from mapwise.workflows.demo import run_demo

    keep_freed_memory()
    result, reports = run_demo(Terminal(remarks=not json))
    answer(result) if json else show(*demonstrated(result, reports))
    if not result["passed"]:
        raise typer.Exit(FAILED)


@app.command("list", epilog="Examples: mapwise list; mapwise list maml")
def list_(
    learner: Annotated[str | None, typer.Argument(help="Show one learner's flags.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Show the learners, nets, sources, encoders and comparisons, or all flags of one learner."""
    from mapwise.interfaces import listing

    content = listing.everything() if learner is None else listing.one(learner)
    if json:
        answer(content)
    elif learner is None:
        listing.show_everything(content)
    else:
        listing.show_one(content)


def show_flags(names: Sequence[str]) -> None:
    """The flags of a learner, and of a source, by their names."""
    from mapwise.interfaces import listing

    for name in names[:1]:
        listing.show_one(listing.one(name))
    for name in names[1:]:
        listing.show_source(name)


@app.command(epilog="Example: mapwise doctor")
def doctor(json: Json = False) -> None:
    """Look for what is broken in this installation, and say how to repair it."""
    from mapwise.interfaces.doctor import examine, show_checks

    checks = examine()
    healthy = all(check.well for check in checks)
    if json:
        answer({"healthy": healthy, "checks": [check.to_json() for check in checks]})
    else:
        show_checks(checks)
    if not healthy:
        raise typer.Exit(FAILED)
