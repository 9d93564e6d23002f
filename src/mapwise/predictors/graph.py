"""A learner as an ONNX graph: support and query go in, scores come out, so that classes are added without Python."""

import contextlib
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mapwise import __version__
from mapwise.core import context, tree
from mapwise.core.learner import Learner
from mapwise.core.task import Examples
from mapwise.core.tree import Params
from mapwise.data.files import path_to_write, write_atomically

NEEDS = ("onnx", "onnxscript", "onnxruntime")
NOTE = (
    "Give support, the encoded rows of the examples [S, D]; labels, 1 in the column of a row's class and 0 in the "
    "others [S, W]; weight, how often a row counts, 1 as a rule [S]; and query, the encoded rows that are asked about "
    "[Q, D]; all in 32 bits. Back come scores [Q, W], and probabilities [Q, W], the softmax of the scores over the "
    "temperature that calibrated the predictor. S, W and Q may be any numbers: a new class is a new column. The names "
    "of classes are yours to keep, and rows are encoded before."
)
"""What whoever opens the graph reads there."""

FARTHEST = 1e-3
"""How far a probability of the graph, which computes in 32 bits, may be from the learner's."""

_SUCH_AS = "such as ridge (fit it with --learner ridge)"
_FREE = {"support": "SD", "labels": "SW", "weight": "S", "query": "QD"}
_NUMBERS = {"S": "examples", "W": "classes", "Q": "rows that are asked about"}


@dataclass(frozen=True)
class Written:
    """What an export wrote.

    bytes:    the size of the file.
    farthest: between a probability of the graph and the learner's own, over the examples.
    """

    bytes: int
    farthest: float


def write_graph(
    learner: Learner,
    params: Params,
    support: Examples,
    path: str | Path,
    about: Mapping[str, str],
    temperature: float = 1.0,
) -> Written:
    """Write adapt and predict, one after the other, as an ONNX file, and ask it about the support to see that it holds.

    The params are inside, in 32 bits; the support isn't. Inputs `support` [S, *input], `labels` [S, W], `weight` [S]
    and `query` [Q, *input]; outputs `scores` and `probabilities` [Q, W]. S, W and Q are free, and so is a size of a row
    that no weight of the learner is bound to.

    about: goes into the file's metadata.
    temperature: divides scores before the softmax.

    Raises ValueError for a learner that no such graph computes: one whose steps torch.export can't follow (gradients
    within `adapt`, branches on data) or ONNX has no operators for, or which takes one number of classes alone. Also
    when the graph's probabilities are more than `FARTHEST` from the learner's, and when a package is missing.
    """
    path = path_to_write(path)
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f'an export needs {missing[0]}, which is not installed: pip install "mapwise[onnx]"')
    program = _program(learner, params, support, temperature)
    metadata = {"mapwise": __version__, "temperature": repr(temperature), **about}
    data = _serialized(program, type(learner).__name__, metadata)
    farthest = _farthest(data, learner, params, support, temperature)
    if not farthest <= FARTHEST:
        raise ValueError(
            f"in 32 bits a probability of {type(learner).__name__} comes out {farthest:.1g} from where it should, with "
            f"these examples: bring the numbers of their rows nearer to 1, or take another learner, {_SUCH_AS}"
        )
    write_atomically(path, lambda file: file.write(data))
    return Written(len(data), farthest)


class _Graph(nn.Module):
    """Adapt, then predict, with the params as constants."""

    def __init__(self, learner: Learner, params: Params, temperature: float):
        super().__init__()
        self.temperature = temperature
        self.learner = learner
        self.leaves = tree.flatten(params)
        for place, leaf in enumerate(self.leaves.values()):
            self.register_buffer(f"param{place}", leaf.float())

    def forward(self, support: Tensor, labels: Tensor, weight: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        params = tree.unflatten({name: getattr(self, f"param{i}") for i, name in enumerate(self.leaves)})
        rows = Examples(support, labels, weight, torch.zeros((), dtype=torch.int64))
        # A graph doesn't look at weights to choose its way.
        with context.within(all_rows_count=False, in_products=True):
            scores = self.learner.predict(params, self.learner.adapt(params, rows), query)
        if not isinstance(scores, Tensor):
            raise TypeError("its answers are distributions")
        return scores, torch.softmax(scores / self.temperature, -1)


def _program(learner: Learner, params: Params, support: Examples, temperature: float) -> torch.export.ExportedProgram:
    """The learner as torch.export sees it; raises ValueError where it can't, or fixes a size that must be free."""
    name = type(learner).__name__
    shape = tuple(support.x.shape[1:])
    # Sizes that differ from one another, so that none is taken for another.
    rows, ways, queries = (size + max(shape) for size in (7, 3, 5))
    generator = torch.Generator().manual_seed(0)
    given = {
        "support": torch.randn(rows, *shape, generator=generator),
        "labels": torch.eye(ways)[torch.arange(rows) % ways],
        "weight": torch.ones(rows),
        "query": torch.randn(queries, *shape, generator=generator),
    }
    free = {key: dict.fromkeys(range(value.ndim), torch.export.Dim.AUTO) for key, value in given.items()}
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(_Graph(learner, params, temperature).eval(), (), given, dynamic_shapes=free)
    except Exception as problem:  # whatever torch meets on its way through a learner
        raise ValueError(
            f"{name} can't be exported, since torch.export can't follow its steps ({_short(problem)}): take a learner "
            f"that adapts in closed form and without branches on data, {_SUCH_AS}"
        ) from None
    return program


def _serialized(program: torch.export.ExportedProgram, name: str, about: Mapping[str, str]) -> bytes:
    """The file of a program; raises ValueError for operators that ONNX lacks, and for a size that must be free."""
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    try:
        with _quiet():
            exported = torch.onnx.export(
                program, dynamo=True, input_names=list(_FREE), output_names=["scores", "probabilities"], verbose=False
            )
    except torch.onnx.errors.OnnxExporterError as problem:
        lacking = re.search(r"op='aten\.(\w+)'", f"{problem} {problem.__cause__}")
        raise ValueError(
            f"{name} can't be exported, since ONNX has no operator for {lacking[1] if lacking else _short(problem)}: "
            f"take a learner that needs none, {_SUCH_AS}"
        ) from None
    assert exported is not None
    model: Any = exported.model
    ClearMetadataAndDocStringPass()(model)  # where in which file of this machine each node was made
    model.producer_name, model.producer_version = "mapwise", __version__
    model.doc_string = NOTE
    model.metadata_props.update(about)
    proto = onnx_ir.to_proto(model)
    sizes = _sizes(program)
    for letter, size in sizes.items():
        if size.isdecimal() and letter in _NUMBERS:
            raise ValueError(
                f"{name} can't be exported, since its graph is of one number of {_NUMBERS[letter]} alone: take a "
                f"learner that asks for none, {_SUCH_AS}"
            )
    _name_sizes(proto.graph, {size: letter for letter, size in sizes.items()})
    return bytes(proto.SerializeToString())


def _sizes(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Letter -> the symbol that torch.export has for the size, or the number that it is always."""
    shapes = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder"}
    return {
        letter: str(size) for key, letters in _FREE.items() for letter, size in zip(letters, shapes[key], strict=False)
    }


def _name_sizes(graph: Any, letters: Mapping[str, str]) -> None:
    """Call the sizes of inputs and outputs by the letters of the library; what lies between may be worked out."""
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in letters:
                size.dim_param = letters[size.dim_param]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _name_sizes(attribute.g, letters)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells its own developers."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _farthest(data: bytes, learner: Learner, params: Params, support: Examples, temperature: float) -> float:
    """Between a probability of the graph and the learner's own, for the rows of the support."""
    exact = Examples(support.x.double(), support.y.double(), support.weight.double(), support.key)
    wide = tree.map(Tensor.double, params)
    with torch.no_grad():
        scores = learner.predict(wide, learner.adapt(wide, exact), exact.x)
    assert isinstance(scores, Tensor)
    apart = answered(data, support, support.x) - torch.softmax(scores / temperature, -1).numpy()
    return float(np.abs(apart).max())


def _short(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return " ".join(lines[0].split())[:150].rstrip(".:")


def answered(path: str | Path | bytes, support: Examples, query: Any) -> Float[np.ndarray, "Q W"]:
    """The probabilities that an exported graph gives, run by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path if isinstance(path, bytes) else str(path))
    given = {"support": support.x, "labels": support.y, "weight": support.weight, "query": query}
    probabilities: np.ndarray = session.run(
        ["probabilities"], {k: np.asarray(v, np.float32) for k, v in given.items()}
    )[0]
    return probabilities
