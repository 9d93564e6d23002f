"""Every name there is, and the flags of one learner."""

import inspect
from typing import Any

from mapwise.catalog.encoders import ENCODERS, FAMILIES
from mapwise.catalog.learners import LEARNERS
from mapwise.catalog.nets import NETS, net_options
from mapwise.catalog.rows import named
from mapwise.catalog.sources import SOURCES
from mapwise.learners.row import LearnerRow
from mapwise.predictors.diagnostics.diagnostic import every_diagnostic
from mapwise.predictors.heads.head import NAMED
from mapwise.runs.flags import FLAGS
from mapwise.runs.words import field_meanings, flag, plain_type, plain_value
from mapwise.workflows.comparison.bench import BENCHES
from mapwise.workflows.errors import wrong_use


def catalog_listing() -> dict[str, list[dict[str, Any]]]:
    """Every name of the catalog and every comparison, as one JSON-ready object."""
    return {
        "learners": [
            {
                "name": name,
                "family": row.family,
                "only_for": row.only_for,
                "paper": row.paper,
                "summary": row.summary,
            }
            for name, row in LEARNERS.items()
        ],
        "nets": [{"name": name, "summary": _first_line(net)} for name, net in NETS.items()],
        "sources": [
            {"name": name, "problem": row.problem, "kind": row.problem, "needs": row.needs, "net": row.net}
            | {"summary": row.summary}
            | ({"options": source_options(name)} if row.options else {})
            for name, row in SOURCES.items()
        ],
        "encoders": [
            {"name": name, "reads": encoder().reads, "summary": encoder.summary} for name, encoder in ENCODERS.items()
        ]
        + [
            {"name": f"{name}:NAME", "reads": "texts or pictures", "summary": row.summary}
            for name, row in FAMILIES.items()
        ],
        "behind_an_encoder": [
            {"name": name, "problem": problem, "summary": row.summary}
            for problem, rows in NAMED.items()
            for name, row in rows.items()
        ],
        "diagnostics": [{"name": name, "summary": _first_line(one.run)} for name, one in every_diagnostic().items()],
        "comparisons": [{"name": name, "summary": bench.line} for name, bench in BENCHES.items()],
    }


def learner_listing(name: str) -> dict[str, Any]:
    """A learner with its fields, how it asks to be trained, and the options of every net, as one JSON-ready object.

    Raises WrongUse for an unknown name, with the nearest.
    """
    with wrong_use():
        row: LearnerRow = named(LEARNERS, name, "learner")
    meanings = _meanings(row)
    return {
        "name": name,
        "family": row.family,
        "paper": row.paper,
        "summary": row.summary,
        "fields": [
            {
                "flag": flag(field),
                "type": plain_type(row.types[field]),
                "default": plain_value(row.preset.get(field, about.default)),
                "meaning": meanings.get(field, ""),
            }
            for field, about in row.fields.items()
        ],
        "recipe": [
            {
                "flag": flag(setting),
                "type": plain_type(FLAGS[setting].type),
                "default": plain_value(value),
                "meaning": f"of most learners: {plain_value(FLAGS[setting].default)}",
            }
            for setting, value in row.recipe.items()
        ],
        "nets": {net: _options(row, net) for net in NETS} if row.blueprint is not None else {},
    }


def _options(row: LearnerRow, net: str) -> list[dict[str, Any]]:
    meanings = field_meanings(NETS[net])
    preferred = row.nets.get(net, {})
    return [
        {
            "flag": f"--net.{name}",
            "type": plain_type(option.annotation),
            "default": plain_value(preferred.get(name, option.default)),
            "meaning": meanings.get(name, ""),
        }
        for name, option in net_options(net).items()
    ]


def source_options(name: str) -> list[dict[str, Any]]:
    """The flags of a source's own settings, JSON-ready; none for a folder or a file."""
    row = SOURCES.get(name)
    if row is None:
        return []
    meanings = field_meanings(row.factory)
    return [
        {
            "flag": flag(f"source.{option}"),
            "type": plain_type(about.annotation),
            "default": plain_value(about.default),
            "meaning": meanings.get(option, ""),
        }
        for option, about in row.options.items()
    ]


def _meanings(row: LearnerRow) -> dict[str, str]:
    """What a learner's docstring says of its fields."""
    return field_meanings(getattr(row.make, "func", row.make))


def _first_line(part: Any) -> str:
    return inspect.cleandoc(part.__doc__ or "").splitlines()[0]
