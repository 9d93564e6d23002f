"""Figures that lie in files are the same on every machine."""

import importlib

import matplotlib
import pytest

from conftest import ROOT
from mapwise.report.plots import against_time, standalone


@pytest.fixture
def tables():
    return importlib.import_module("benchmarks.tables")


def test_a_figure_is_the_same_where_a_machine_measures_texts_otherwise(tables, monkeypatch):
    from matplotlib.backends.backend_svg import RendererSVG

    rows = tables.read_rows()
    first = standalone(against_time(tables.compared("glyphs", rows)))
    measure = RendererSVG.get_text_width_height_descent
    # Wider, and higher by less than what is rounded away.
    monkeypatch.setattr(
        RendererSVG,
        "get_text_width_height_descent",
        lambda *given: tuple(size * factor for size, factor in zip(measure(*given), (1.3, 1.001, 1.001), strict=True)),
    )
    assert standalone(against_time(tables.compared("glyphs", rows))) == first


@pytest.mark.skipif(
    f"matplotlib=={matplotlib.__version__}" not in (ROOT / "constraints.txt").read_text(),
    reason="the figure that is kept was drawn by the matplotlib of constraints.txt",
)
def test_the_figure_of_a_comparison_is_current(tables, tmp_path):
    (tmp_path / "glyphs").mkdir()
    for path in tables.figures(tables.read_rows(), tmp_path):
        assert path.read_text(encoding="utf-8") == (tables.RESULTS / path.parent.name / path.name).read_text(
            encoding="utf-8"
        )
