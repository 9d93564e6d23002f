"""The shape of tasks in files: rows of one float32 tensor by their sizes alone, others by their Specs."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from mapwise.core.source import TaskShape
from mapwise.core.spec import Inputs, Spec, is_plain


def shape_to_file(shape: TaskShape) -> list[Any]:
    """The shape as plain values."""
    return [shape.problem, _inputs_to_file(shape.inputs), shape.outputs]


def _inputs_to_file(inputs: Inputs) -> Any:
    if isinstance(inputs, dict):
        return {name: _spec_to_file(spec) for name, spec in inputs.items()}
    return list(inputs.shape) if is_plain(inputs) else _spec_to_file(inputs)


def _spec_to_file(spec: Spec) -> dict[str, Any]:
    return {name: value for name, value in asdict(spec).items() if value is not None}  # TOML has no null


def _of_file(values: Any) -> Any:
    if isinstance(values, list | tuple) and len(values) == 3 and isinstance(values[1], list | tuple):
        return [values[0], {"shape": values[1]}, values[2]]
    return values


FiledShape = Annotated[TaskShape, BeforeValidator(_of_file), PlainSerializer(shape_to_file)]
"""A shape of tasks in settings that are written to a file."""
