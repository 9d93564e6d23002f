"""One addition of each kind, as a newcomer would make it: the files it makes, and what it puts into others."""

from textwrap import dedent

LINE = "## [Unreleased]\n\n"


def noted(text: str) -> tuple[str, str]:
    return LINE, f"- {text}\n"


ADDITIONS: dict[str, dict[str, str | list[tuple[str, str]]]] = {
    # kind -> path -> the whole of a new file, or what is put behind anchors of an old one
    "learner": {
        "src/mapwise/learners/metric/soft_means.py": '''
            """Soft means: a query goes to the class whose mean is near, the sharper the surer."""

            from dataclasses import dataclass
            from typing import ClassVar

            import torch

            from mapwise.core import functional
            from mapwise.core.families.embedding import EmbeddingLearner
            from mapwise.core.geometry import class_means, squared_distances
            from mapwise.core.scores import without_absent
            from mapwise.core.task import Examples, present_classes
            from mapwise.core.tree import Fast, Params
            from mapwise.learners.row import encoder_row


            @dataclass(frozen=True)
            class SoftMeans(EmbeddingLearner):
                """A class is the mean of its embedded rows; scores are distances times a sharpness.

                Paper:   none.
                Fast:    {"means": [W, D], "present": [W]}.
                Loss:    cross-entropy.
                Differs: nothing.

                encoder:   [N, *input] -> [N, D].
                sharpness: factor of the squared distances.
                """

                encoder_part: ClassVar[str] = ""

                sharpness: float = 1.0

                def init(self, seed: int) -> Params:
                    """The encoder's weights."""
                    return functional.initial_weights(self.encoder, seed)

                def adapt(self, params: Params, support: Examples) -> Fast:
                    """The mean of each class."""
                    z, held = self.embed_support(params, support)
                    return {**held, "means": class_means(z, support), "present": present_classes(support)}

                def predict(self, params: Params, fast: Fast, x: torch.Tensor) -> torch.Tensor:
                    """Minus the distances."""
                    far = squared_distances(self.embed(params, fast, x), fast["means"])
                    return without_absent(-self.sharpness * far, fast["present"])


            ROWS = {"soft_means": encoder_row(SoftMeans, "none", "nearest class mean, as sharp as one likes")}
            ''',
        "docs/learners/soft_means.md": """
            # Soft means

            ## Idea

            `soft_means` compares a query with the mean of each class, at a given `sharpness`.
            """,
        "tests/learners/test_soft_means.py": """
            def test_a_sharper_learner_is_surer():
                import mapwise as mw
                from torch import nn

                support = mw.examples([[0.0], [1.0], [2.0]], ["a", "b", "b"])[0]
                scores = []
                for sharpness in (1.0, 3.0):
                    learner = mw.SoftMeans(nn.Flatten(), sharpness=sharpness)
                    fast = learner.adapt(learner.init(0), support)
                    scores.append(learner.predict(learner.init(0), fast, support.x))
                assert scores[1].allclose(3 * scores[0])
            """,
        "CHANGELOG.md": [noted("`SoftMeans`: nearest class mean, as sharp as one likes.")],
    },
    "problem": {
        "src/mapwise/problems/absolute.py": '''
            """Regression that is judged by the absolute error."""

            from dataclasses import dataclass
            from typing import ClassVar

            from torch import Tensor

            from mapwise.core.problem import Metric
            from mapwise.core.scores import Scores, means
            from mapwise.problems.regression import Regression


            @dataclass(frozen=True)
            class Absolute(Regression):
                """Every row has W numbers, judged by their absolute error."""

                name: ClassVar[str] = "absolute"
                metric: ClassVar[Metric] = Metric("mae", "mean absolute error", "mae", True, percent=False)

                def values(self, scores: Scores, y: Tensor) -> Tensor:
                    """The absolute error, averaged over targets."""
                    return (means(scores) - y).abs().mean(-1)
            ''',
        "src/mapwise/problems/__init__.py": [
            ("from mapwise.core.problem import Metric, Problem\n", "from mapwise.problems.absolute import Absolute\n"),
            ("(Classification(), Regression(), Multilabel()", ", Absolute()"),
        ],
        "tests/problems/test_absolute.py": """
            def test_it_is_public():
                import mapwise as mw

                assert mw.Absolute().metric.name == "mae"
            """,
        "CHANGELOG.md": [noted("`mw.Absolute`: regression by the absolute error.")],
    },
    "source": {
        "src/mapwise/tasks/steps.py": '''
            """Step functions: every task jumps at a place of its own."""

            from dataclasses import dataclass, field

            import numpy as np

            from mapwise.tasks.curves import Curves


            @dataclass(frozen=True, eq=False)
            class Steps(Curves):
                """Fit a step from a few points of it.

                height: of the step.
                """

                height: float = field(default=1.0, kw_only=True)

                @property
                def name(self) -> str:
                    """What the data is called in reports."""
                    return "steps"

                @property
                def ranges(self) -> tuple[tuple[float, float], ...]:
                    """Of the place."""
                    return ((-4.0, 4.0),)

                def y(self, x: np.ndarray, *numbers: np.ndarray) -> np.ndarray:
                    """0 before the place and the height behind it."""
                    return self.height * (x > numbers[0])
            ''',
        "src/mapwise/catalog/sources.py": [
            ("from mapwise.tasks.sinusoid import Sinusoid\n", "from mapwise.tasks.steps import Steps\n"),
            (
                "_SOURCES = {\n",
                '    "steps": SourceRow(\n        _functions(Steps, queries=10), "regression", "step functions", '
                'net="mlp", shots="5", factory=Steps\n    ),\n',
            ),
        ],
        "tests/tasks/test_steps.py": """
            def test_a_step_has_two_values():
                import mapwise as mw

                assert set(mw.Steps()(0).support.y.flatten().tolist()) == {0.0, 1.0}
            """,
        "CHANGELOG.md": [noted("The source `steps`.")],
    },
    "net": {
        "src/mapwise/nets/wide.py": '''
            """One wide hidden layer."""

            import math

            from torch import Tensor, nn


            class Wide(nn.Module):
                """One wide hidden layer.

                units: of it.
                """

                def __init__(
                    self, input_shape: tuple[int, ...], outputs: int | None = None, *, units: int = 32
                ) -> None:
                    super().__init__()
                    self.body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), units), nn.Tanh())
                    self.head = nn.Identity() if outputs is None else nn.Linear(units, outputs)
                    self.output_shape = (units if outputs is None else outputs,)

                def forward(self, x: Tensor) -> Tensor:
                    """[N, *input_shape] -> [N, outputs]."""
                    out: Tensor = self.head(self.body(x))
                    return out
            ''',
        "src/mapwise/catalog/nets.py": [
            ("from mapwise.nets import MLP, Conv4, Residual, ResNet12\n", "from mapwise.nets.wide import Wide\n"),
            ('"residual": Residual', ', "wide": Wide'),
        ],
        "tests/nets/test_wide.py": """
            def test_it_is_as_wide_as_it_says():
                from mapwise.nets.wide import Wide

                assert Wide((2,), units=7).output_shape == (7,)
            """,
        "CHANGELOG.md": [noted("The net `wide`.")],
    },
    "encoder": {
        "src/mapwise/encoders/lengths.py": '''
            """Texts by how long they are."""

            from collections.abc import Sequence
            from dataclasses import dataclass
            from typing import ClassVar

            import numpy as np

            from mapwise.data.modality import Modality
            from mapwise.encoders.encoder import Frozen


            @dataclass(frozen=True)
            class Lengths(Frozen):
                """The number of characters and of words of a text."""

                name: ClassVar[str] = "lengths"
                reads: ClassVar[Modality] = "texts"
                version: ClassVar[str] = "1"
                usual: ClassVar[None] = None

                def __call__(self, rows: Sequence[str]) -> np.ndarray:
                    """[N, 2]."""
                    return np.asarray([[len(text), len(text.split())] for text in rows], np.float32)
            ''',
        "src/mapwise/catalog/encoders.py": [
            (
                "from mapwise.encoders.languages import Languages\n",
                "from mapwise.encoders.lengths import Lengths\n",
            ),
            (
                '    "ink": EncoderRow(Ink, "a drawing\'s own pixels, as ink on nothing"),\n',
                '    "lengths": EncoderRow(Lengths, "how long a text is"),\n',
            ),
        ],
        "docs/few-examples/encoders.md": [("# Encoders\n", "\n`lengths` counts the characters and words of a text.\n")],
        "tests/encoders/test_lengths.py": """
            def test_characters_and_words_are_counted():
                from mapwise.encoders.lengths import Lengths

                assert Lengths()(["a bc"]).tolist() == [[4.0, 2.0]]
            """,
        "CHANGELOG.md": [noted("The encoder `lengths`.")],
    },
    "setting": {
        "src/mapwise/engine/settings.py": [
            (
                "    patience:            stop after this many validations without an improvement; None: never.\n",
                "    shrink:              share of the meta-gradient that is left out, 0 to 1.\n",
            ),
            ('    select: Literal["best", "last"] = "best"\n', "    shrink: float = 0.0\n"),
        ],
        "src/mapwise/engine/train.py": [
            ('    select: Literal["best", "last"] = "best",\n', "    shrink: float = 0.0,\n"),
            (
                '    select:     return the params of the "best" validation, or the "last".\n',
                "    shrink:     share of the meta-gradient that is left out, 0 to 1.\n",
            ),
            (
                "        validation_episodes=_MOST_EPISODES if validation_episodes is None else validation_episodes,\n",
                "        shrink=shrink,\n",
            ),
            (
                "meta_gradient(learner.at(step / steps), state.params, batch, **gradient_settings)\n",
                "        gradient = tree.map(lambda leaf: (1 - shrink) * leaf, gradient)\n",
            ),
        ],
        "tests/engine/test_shrink.py": """
            def test_a_gradient_that_is_left_out_teaches_nothing():
                import mapwise as mw
                from torch import nn

                learner = mw.MAML(nn.Linear(1, 1), loss="squared_error")
                trained = mw.train(learner, mw.Lines(), steps=2, shrink=1.0, optimizer="SGD lr=1.0", select="last")
                assert all((trained.params[name] == leaf).all() for name, leaf in learner.init(0).items())
            """,
        "CHANGELOG.md": [noted("`train(shrink=...)`: leave out a share of the meta-gradient.")],
    },
    "diagnostic": {
        "src/mapwise/predictors/diagnostics/nearby.py": '''
            """The examples nearest to a row."""

            from collections.abc import Sequence
            from dataclasses import dataclass
            from typing import Any

            import numpy as np

            from mapwise.predictors.classes import Predictor
            from mapwise.predictors.diagnostics.diagnostic import Diagnostic


            @dataclass(frozen=True)
            class Near:
                """The examples nearest to a row."""

                row: int
                examples: tuple[int, ...]

                @property
                def reason(self) -> str:
                    """In words."""
                    return f"near {', '.join(f'example {place}' for place in self.examples)}"

                def to_json(self) -> dict[str, Any]:
                    """JSON-ready."""
                    return {"examples": list(self.examples)}


            def nearby(
                predictor: Predictor, X: Any, *, count: int = 1, names: Sequence[Any] | None = None
            ) -> list[Near]:
                """Show the examples nearest to each row.

                count: number of examples.
                """
                far = ((predictor.encoded(X)[:, None] - predictor.rows[None]) ** 2).sum(-1)
                order = np.argsort(far, axis=1)[:, :count]
                return [Near(row, tuple(places)) for row, places in enumerate(order.tolist())]


            DIAGNOSTIC = Diagnostic(nearby, key="nearby")
            ''',
        "src/mapwise/interfaces/cli/diagnostics.py": [
            (
                "from mapwise.interfaces.printing import answer, note, show, show_sheet\n",
                dedent('''

                @app.command("nearby", epilog="Example: mapwise nearby birds.safetensors new/ --count 3")
                def nearby_command(
                    file: PredictorFile,
                    inputs: Inputs,
                    count: Annotated[int, typer.Option(help="Number of examples.")] = 1,
                    json: Json = False,
                ) -> None:
                    """Show the examples nearest to each row."""
                    from mapwise.interfaces.progress import Work

                    with Work("loading the predictor") as work:
                        shown = diagnose("nearby", file, inputs, work, skip_bad=False, count=count)
                    shown(json)
                '''),
            )
        ],
        "docs/few-examples/label-next.md": [("# What to label next\n", "\n`mapwise nearby` shows near examples.\n")],
        "tests/predictors/test_nearby.py": """
            def test_an_example_is_nearest_to_itself():
                import mapwise as mw

                model = mw.FewShotClassifier().fit([[0.0], [1.0], [5.0]], ["a", "a", "b"])
                assert [one.examples for one in model.diagnose("nearby", [[5.0], [0.0]])] == [(2,), (0,)]
            """,
        "CHANGELOG.md": [noted("`mapwise nearby`: the examples nearest to a row.")],
    },
}
