"""A few rows of a table: FewShotClassifier beside scikit-learn's logistic regression and gradient boosting.

    python -m benchmarks.few_examples.tabular [--data FOLDER] [--seeds 10] [--quick] [--json FILE]

German credit and bank marketing (without the length of the call, which nobody knows before it), 8, 16 and 32 rows of
each class, judged by the area under the ROC curve on all other rows. The peers are given each column as a person would
prepare it: numbers standardised, words one-hot.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import mapwise as mw
from benchmarks import row
from benchmarks.kept_runs import with_interval
from benchmarks.row import Line, Row, Target
from mapwise.catalog.encoders import ENCODERS
from mapwise.catalog.heads import heads_behind

SHOTS = (8, 16, 32)
BEHIND = 0.01
"""Of the area, that the automatic choice may lie behind the better peer at 8 rows."""


def tables(data: Path) -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
    """Name -> columns and labels."""
    credit = pd.read_csv(data / "german-credit" / "german.data", sep=r"\s+", header=None)
    credit.columns = [f"attribute {place}" for place in range(len(credit.columns))]
    bank = pd.read_csv(data / "bank-marketing" / "bank-additional.csv", sep=";").drop(columns="duration")
    return {
        "german-credit": (credit.iloc[:, :-1], (credit.iloc[:, -1] == 2).to_numpy()),
        "bank-marketing": (bank.drop(columns="y"), (bank["y"] == "yes").to_numpy()),
    }


def prepared(model):
    """A scikit-learn model behind columns that it can read."""
    numbers, words = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    columns = make_column_transformer(
        (StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), words)
    )
    return make_pipeline(columns, model)


PEERS = {
    "logistic regression": lambda: prepared(LogisticRegression(max_iter=1000)),
    "gradient boosting": lambda: prepared(GradientBoostingClassifier(random_state=0)),
}
OURS = {
    name: lambda name=name: mw.FewShotClassifier(learner=name) for name in ("auto", *heads_behind(ENCODERS["table"]()))
}


def areas(X: pd.DataFrame, y: np.ndarray, shots: int, seeds: int) -> dict[str, np.ndarray]:
    """The area under the ROC curve of every contender with the same rows, [seeds] each."""
    result: dict[str, list[float]] = {name: [] for name in (*OURS, *PEERS)}
    for seed in range(seeds):
        random = np.random.default_rng((seed, shots))
        rows = np.concatenate([random.permutation(np.flatnonzero(y == label))[:shots] for label in (False, True)])
        rest = np.setdiff1d(np.arange(len(y)), rows)
        for name, product in {**OURS, **PEERS}.items():
            model = product().fit(X.iloc[rows], y[rows])
            result[name].append(roc_auc_score(y[rest], model.predict_proba(X.iloc[rest])[:, 1]))
    return {name: np.array(values) for name, values in result.items()}


def benchmark(options: argparse.Namespace) -> Row:
    seeds = 2 if options.quick else options.seeds
    result = Row(
        "tabular",
        "german-credit, bank-marketing",
        f"{seeds} draws of the rows, the same for all; area under the ROC curve on all other rows",
        learner="none: heads behind the encoder table",
    )
    for name, (X, y) in tables(Path(options.data)).items():
        lines: list[Line] = []
        for shots in SHOTS[:1] if options.quick else SHOTS:
            outcome = areas(X, y, shots, seeds)
            better = max(PEERS, key=lambda peer: outcome[peer].mean())
            lines += [
                {
                    "rows of each class": shots,
                    "by": who if who in PEERS else f"FewShotClassifier, {who}",
                    "area under ROC": with_interval(values, 3),
                    "behind the better peer": with_interval(outcome[better] - values, 3) if who != better else "–",
                }
                for who, values in outcome.items()
            ]
            if shots == SHOTS[0]:
                behind = float((outcome[better] - outcome["auto"]).mean())
                result.targets.append(
                    Target(f"area behind {better}, {name}, {shots} rows of each class", behind, BEHIND, at_least=False)
                )
        result.tables.append((name, lines))
    return result


def main() -> int:
    parser = row.parser(__doc__)
    parser.add_argument("--data", default=os.environ.get("MAPWISE_DATA"), help="the folder of data sets")
    parser.add_argument("--seeds", type=int, default=10)
    return row.run(parser, benchmark, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
