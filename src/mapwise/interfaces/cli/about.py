"""The commands about mapwise itself: a demo, what there is, and whether the installation is sound."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mapwise.interfaces.cli.app import Json, app
from mapwise.interfaces.printing import answer, show
from mapwise.workflows.allocator import keep_freed_memory
from mapwise.workflows.errors import FAILED

if TYPE_CHECKING:
    from mapwise.workflows.doctor import Check


@app.command("demo", epilog="Example: mapwise demo")
def demo_command(json: Json = False) -> None:
    """Train on drawn letters for a minute, evaluate on unseen alphabets, and write a report."""
    from mapwise.interfaces.progress import Terminal
    from mapwise.interfaces.shown import demonstrated
    from mapwise.workflows.demo import run_demo

    keep_freed_memory()
    result, reports = run_demo(Terminal(remarks=not json))
    answer(result) if json else show(*demonstrated(result, reports))
    if not result["passed"]:
        raise typer.Exit(FAILED)


@app.command("list", epilog="Examples: mapwise list; mapwise list maml")
def list_command(
    learner: Annotated[str | None, typer.Argument(help="Show one learner's flags.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """List learners, nets, sources, encoders, diagnostics and comparisons, or the flags of one learner."""
    from mapwise.interfaces import listing
    from mapwise.workflows.listing import catalog_listing, learner_listing

    content = catalog_listing() if learner is None else learner_listing(learner)
    if json:
        answer(content)
    elif learner is None:
        listing.show_everything(content)
    else:
        listing.show_one(content)


def show_flags(names: Sequence[str]) -> None:
    """The flags of a learner, and of a source, by their names."""
    from mapwise.interfaces import listing
    from mapwise.workflows.listing import learner_listing

    for name in names[:1]:
        listing.show_one(learner_listing(name))
    for name in names[1:]:
        listing.show_source(name)


@app.command("doctor", epilog="Example: mapwise doctor")
def doctor_command(json: Json = False) -> None:
    """Check this installation, and say how to repair what is broken."""
    from mapwise.workflows.doctor import examine

    checks = examine()
    healthy = all(check.well for check in checks)
    if json:
        answer({"healthy": healthy, "checks": [check.to_json() for check in checks]})
    else:
        _show_checks(checks)
    if not healthy:
        raise typer.Exit(FAILED)


def _show_checks(checks: "list[Check]") -> None:
    """The checks as a table, and the repairs below it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "what", "found"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(Text("ok" if check.well else "BROKEN"), Text(check.name), Text(check.found))
    show(table)
    broken = [check for check in checks if not check.well]
    for check in broken:
        show(f"repair {check.name}: {check.repair}")
    show("nothing is broken" if not broken else f"{len(broken)} broken")
