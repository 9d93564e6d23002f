"""A predictor's learner as an ONNX file."""

from pathlib import Path

from torch import Tensor

from mapwise.core import tree
from mapwise.predictors.classes import Predictor
from mapwise.predictors.graph import Written, write_graph


def export_onnx(predictor: Predictor, path: str | Path) -> Written:
    """Write its learner as an ONNX file, to which examples, classes and queries are given; see `write_graph`.

    Neither the support nor the names of its classes are in the file, nor is the encoder: its name is. Where names or
    descriptions of classes are believed, give their encoded rows as further rows of the support, with the weight that
    the metadata's `descriptions_weight` names.

    Raises ValueError for a learner that no such file can hold, and when the extra isn't installed.
    """
    encoder = predictor.encoder
    temperature = predictor.temperature
    about = {"learner": predictor.head.name, "encoder": encoder.name, "encoder_version": encoder.version}
    if predictor.description_rows is not None and predictor.descriptions is not None:
        about["descriptions_weight"] = repr(predictor.descriptions.belief.weight)
    learner, params, support = predictor.head.whole(predictor.joined_support)
    return write_graph(learner, tree.map(Tensor.double, params), support, path, about, temperature)
