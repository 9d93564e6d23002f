"""Every name there is, and the flags of one learner, as tables."""

from typing import Any

from mapwise.interfaces.printing import show
from mapwise.workflows.listing import source_options

SECTIONS = {
    "learners": ("name", "family", "only_for", "paper", "summary"),
    "nets": ("name", "summary"),
    "sources": ("name", "problem", "needs", "summary"),
    "encoders": ("name", "reads", "summary"),
    "behind_an_encoder": ("name", "problem", "summary"),
    "diagnostics": ("name", "summary"),
    "comparisons": ("name", "summary"),
}
"""What is listed, with the columns of its table."""


def show_everything(content: dict[str, list[dict[str, Any]]]) -> None:
    """The lists as tables."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for title, columns in SECTIONS.items():
        table = Table(
            title=Text(title.replace("_", " "), style="bold"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for column in columns:
            table.add_column(column.replace("_", " "), no_wrap=column == "name")
        for row in content[title]:
            table.add_row(*(Text(_text(row[column])) for column in columns))
        show(table)
    for row in content["sources"]:
        if row.get("options"):
            show(f"{row['name']} has its own: {', '.join(about['flag'] for about in row['options'])}")
    show("mapwise list LEARNER shows a learner's flags")


def show_one(content: dict[str, Any]) -> None:
    """A learner's flags as tables."""
    show(f"{content['name']} ({content['paper']}): {content['summary']}")
    groups = [("its fields", content["fields"]), ("how it is trained", content["recipe"])]
    groups += [(f"net {net}", options) for net, options in content["nets"].items()]
    for title, flags in groups:
        _show_flags(title, flags)


def show_source(name: str) -> None:
    """The flags of a source's own settings as a table; nothing for a source that has none."""
    _show_flags(f"source {name}", source_options(name))


def _show_flags(title: str, flags: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not flags:
        return
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("flag", "type", "default", "meaning"):
        table.add_column(column, no_wrap=column == "flag", overflow="fold")
    for about in flags:
        table.add_row(*(Text(str(about[column])) for column in ("flag", "type", "default", "meaning")))
    show(table)


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
