"""One regression task: a function and its prediction."""

from statistics import NormalDist

import numpy as np

from mapwise.engine.results import FunctionFit
from mapwise.problems.regression import LEVELS
from mapwise.report.plots.style import COLOURS, INK, add_legend, one_axes, styled, to_svg


def function_fit(fit: FunctionFit) -> str:
    """One regression task: the true function, the prediction, and the support it was made from.

    With a scale, the central intervals of every level are bands, and the truth is the single points that they may hold.
    """
    order = np.argsort(np.ravel(fit.query_x), kind="stable")
    x, truth, predicted = (np.ravel(values)[order] for values in (fit.query_x, fit.query_y, fit.predicted))
    with styled():
        figure, axes = one_axes()
        if fit.scale is None:
            axes.plot(x, truth, color="#8a8f96", linewidth=1.6, linestyle=(0, (5, 2)), label="the truth")
        else:
            scale = np.ravel(fit.scale)[order]
            for level in reversed(LEVELS):
                reach = NormalDist().inv_cdf(0.5 + float(level) / 200) * scale
                axes.fill_between(x, predicted - reach, predicted + reach, color=COLOURS[0], alpha=0.14, linewidth=0)
            axes.plot(x, truth, ".", color=INK, markersize=4, label="the truth")
        axes.plot(x, predicted, color=COLOURS[0], label="predicted")
        axes.scatter(np.ravel(fit.support_x), np.ravel(fit.support_y), s=64, color=COLOURS[1], edgecolor=INK,
                     linewidth=1.2, zorder=3, label=f"support ({np.size(fit.support_x)})")  # fmt: skip
        axes.set(xlabel="input x", ylabel="target y")
        add_legend(figure, axes, always=True)
        return to_svg(figure)
