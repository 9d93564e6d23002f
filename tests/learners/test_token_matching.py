"""TokenMatching: scores by a plain loop over words, and answers and losses from all paths of tags, one by one."""

from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core.chain import best_path
from mapwise.core.tags import allowed, spans_of, tags_of
from mapwise.core.task import Examples, Task
from mapwise.learners.metric.token_matching import TokenMatching

WORDS, WIDTH = 16, 5


class Lookup(nn.Module):
    """A vector for each piece, from the piece alone."""

    output_shape = (WIDTH,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(WORDS, WIDTH)

    def forward(self, x):
        return self.table(x["pieces"])


def rows(texts, spans, starts=None, names=0):
    """Texts of one length as examples of two types; the last `names` rows are names of types."""
    tags = torch.tensor([tags_of(of_text, len(text)).tolist() for text, of_text in zip(texts, spans, strict=True)])
    words = torch.ones_like(tags) if starts is None else torch.tensor(starts)
    x = {
        "pieces": torch.tensor(texts),
        "starts": words,
        "described": torch.tensor([0] * (len(texts) - names) + [1] * names),
    }
    return Examples(x, F.one_hot(tags, 5).double(), words.double(), torch.tensor(3))


SUPPORT = rows(
    [[1, 2, 3, 4], [5, 1, 6, 7], [8, 9, 2, 3], [10, 12, 0, 0], [11, 13, 0, 0]],
    [[(0, 2, 0)], [(2, 4, 1)], [(0, 1, 0), (2, 3, 1)], [(0, 2, 0)], [(0, 2, 1)]],
    starts=[[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]],
    names=2,
)
# The second text has a piece that begins no word, between two words of one span.
QUERY = rows([[14, 2, 5, 6], [7, 15, 3, 9]], [[(0, 2, 0)], [(0, 3, 1)]], starts=[[1, 1, 1, 1], [1, 0, 1, 1]])
LEARNER = TokenMatching(Lookup().double())


def params_of(learner):
    params = learner.init(0)
    torch.manual_seed(1)
    numbers = {f"log_{name}": torch.tensor(value, dtype=torch.float64).log() for name, value in NUMBERS.items()}
    table = {"moves": torch.randn(3, 3).double() / 10, "start": torch.randn(3).double() / 10}
    return {"encoder": params["encoder"], **numbers, "table": table}


NUMBERS = {"scale": 3.0, "apart": 0.3, "beyond": 0.5}
PARAMS = params_of(LEARNER)
EXAMPLES = {
    "O": [3, 4, 5, 1, 9, 3],
    "B0": [1, 8],
    "I0": [2],
    "B1": [6, 2],
    "I1": [7],
    "name0": [10, 12],
    "name1": [11, 13],
}


def scores_of(piece, examples=EXAMPLES):
    """Of one word, by the formula in words."""
    place = F.normalize(PARAMS["encoder"]["table.weight"], dim=-1)

    def far(*groups):
        each = [float(((place[piece] - place[other]) ** 2).sum()) for group in groups for other in examples[group]]
        return min(each, default=4.0)

    distances = [min(far("O"), NUMBERS["beyond"])]
    for kind in "01":
        begin, inside, name = far(f"B{kind}"), far(f"I{kind}"), far(f"name{kind}")
        distances += [
            min(begin, inside + NUMBERS["apart"], name + NUMBERS["apart"]),
            min(inside, begin + NUMBERS["apart"], name + NUMBERS["apart"]),
        ]
    return [-NUMBERS["scale"] * distance for distance in distances]


def weights_of_paths(pieces, table):
    """Path of tags of the words -> exp of its score, of paths that are allowed."""
    scores, weights = [scores_of(piece) for piece in pieces], {}
    for path in product(range(5), repeat=len(pieces)):
        broken = [
            tag for tag, last in zip(path, (0, *path), strict=False) if tag in (2, 4) and last not in (tag - 1, tag)
        ]
        if broken:
            continue
        place = [0 if tag == 0 else 2 - tag % 2 for tag in path]
        score = table["start"][place[0]] + sum(table["moves"][one, other] for one, other in pairwise(place))
        weights[path] = (10 * score + sum(scores[word][tag] for word, tag in enumerate(path))).exp()
    return weights


def words_of(row):
    places = QUERY.x["starts"][row].nonzero()[:, 0].tolist()
    return places, [int(QUERY.x["pieces"][row, place]) for place in places]


def test_scores_are_distances_to_the_nearest_words_in_a_plain_loop():
    scores = LEARNER._scores(LEARNER.adapt(PARAMS, SUPPORT), QUERY.x)
    expected = torch.tensor(
        [[scores_of(int(piece)) for piece in row] for row in QUERY.x["pieces"]], dtype=torch.float64
    )
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)
    reached = {round(float(number), 6) for number in scores[..., 0].flatten()}
    assert round(-3 * 0.5, 6) in reached and len(reached) > 2  # O is bounded for some of them, and not for all


@pytest.mark.parametrize("zero", [False, True], ids=["learned", "zero"])
def test_answers_are_the_marginals_of_all_allowed_paths(zero):
    params = {**PARAMS, "table": {name: 0 * leaf for name, leaf in PARAMS["table"].items()}} if zero else PARAMS
    answers = LEARNER.predict(params, LEARNER.adapt(params, SUPPORT), QUERY.x).exp()
    torch.testing.assert_close(answers.sum(-1), torch.ones(2, 4).double(), rtol=0, atol=1e-12)
    for row in range(2):
        places, pieces = words_of(row)
        weights = weights_of_paths(pieces, params["table"])
        for word, place in enumerate(places):
            share = [sum(w for path, w in weights.items() if path[word] == tag) for tag in range(5)]
            expected = torch.stack([torch.as_tensor(part).double() for part in share]) / sum(weights.values())
            torch.testing.assert_close(answers[row, place], expected, rtol=0, atol=1e-12)


def test_the_objective_is_the_likelihood_of_the_true_paths():
    loss, words = 0.0, 0
    for row in range(2):
        places, pieces = words_of(row)
        weights = weights_of_paths(pieces, PARAMS["table"])
        true = tuple(int(QUERY.y[row, place].argmax()) for place in places)
        loss -= (weights[true] / sum(weights.values())).log()
        words += len(places)
    torch.testing.assert_close(LEARNER.objective(PARAMS, Task(SUPPORT, QUERY)), loss / words, rtol=0, atol=1e-12)


def test_the_gradient_of_all_that_is_learned_is_that_of_finite_differences():
    def loss(embeddings, scale, apart, beyond, moves, start):
        point = {"log_scale": scale, "log_apart": apart, "log_beyond": beyond}
        table = {"moves": moves, "start": start}
        return LEARNER.objective(
            {"encoder": {"table.weight": embeddings}, **point, "table": table}, Task(SUPPORT, QUERY)
        )

    given = [PARAMS["encoder"]["table.weight"], *(PARAMS[f"log_{name}"] for name in NUMBERS), *PARAMS["table"].values()]
    leaves = [leaf.clone().requires_grad_() for leaf in given]
    assert torch.autograd.gradcheck(loss, leaves)
    assert all((leaf != 0).any() for leaf in torch.autograd.grad(loss(*leaves), leaves))


def test_words_of_weight_zero_and_rows_of_padding_are_no_examples():
    support = SUPPORT._replace(weight=SUPPORT.weight * torch.tensor([[1], [1], [0], [1], [0]]))
    scores = LEARNER._scores(LEARNER.adapt(PARAMS, support), QUERY.x)
    fewer = {"O": [3, 4, 5, 1], "B0": [1], "I0": [2], "B1": [6], "I1": [7], "name0": [10, 12], "name1": []}
    expected = torch.tensor(
        [[scores_of(int(piece), fewer) for piece in row] for row in QUERY.x["pieces"]], dtype=torch.float64
    )
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)


def test_under_vmap_all_positions_stay_and_answers_are_the_same():
    def answers(y, weight):
        return LEARNER.predict(PARAMS, LEARNER.adapt(PARAMS, SUPPORT._replace(y=y, weight=weight)), QUERY.x)

    other = torch.tensor([0, 3, 4, 1, 2])
    y = torch.stack([SUPPORT.y, SUPPORT.y[..., other]])
    weight = torch.stack([SUPPORT.weight, SUPPORT.weight * torch.tensor([[1], [1], [0], [1], [1]])])
    together = torch.vmap(answers)(y, weight)
    torch.testing.assert_close(together[0], answers(y[0], weight[0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(together[1], answers(y[1], weight[1]), rtol=0, atol=1e-12)


def test_a_type_that_nothing_shows_is_never_found_and_one_by_its_name_alone_is():
    nothing = SUPPORT._replace(weight=SUPPORT.weight * torch.tensor([[1], [0], [0], [1], [0]]))
    fast = LEARNER.adapt(PARAMS, nothing)
    assert fast["present"].tolist() == [1, 1, 1, 0, 0]
    scores = LEARNER.predict(PARAMS, fast, QUERY.x)
    assert (scores[..., 3:] < -1e100).all() and scores.isfinite().all()
    sharp = {**PARAMS, "log_scale": torch.tensor(3.0).double(), "table": LEARNER.init(0)["table"]}
    named = LEARNER.predict(sharp, LEARNER.adapt(sharp, rows_of(SUPPORT, [3, 4])), rows_of(SUPPORT, [3, 0]).x)
    types = torch.stack([named[..., 0], *(named[..., n : n + 2].logsumexp(-1) for n in (1, 3))], -1).argmax(-1)
    assert types[0, :2].tolist() == [1, 1] and types[1].tolist() == [0, 0, 0, 0]


def rows_of(examples, places):
    return Examples(
        {name: leaf[places] for name, leaf in examples.x.items()},
        examples.y[places],
        examples.weight[places],
        examples.key,
    )


def test_names_make_no_word_inside_rather_than_first():
    scores = LEARNER._scores(LEARNER.adapt(PARAMS, rows_of(SUPPORT, [3, 4])), QUERY.x)
    torch.testing.assert_close(scores[..., 1::2], scores[..., 2::2], rtol=0, atol=0)


def test_examples_of_one_word_teach_what_is_inside_once_the_table_joins_words():
    learner = replace(LEARNER, scale=20.0, apart=0.5, beyond=1.5)
    support = rows([[3, 1, 4, 5], [4, 6, 3, 9]], [[(1, 2, 0)], [(1, 2, 1)]])
    query = rows([[3, 1, 1, 4]], [[]])

    def spans(moves):
        params = {**learner.init(0), "table": {**learner.init(0)["table"], "moves": moves}}
        params["encoder"] = PARAMS["encoder"]
        scores = learner.predict(params, learner.adapt(params, support), query.x)
        return spans_of(best_path(scores[0].float(), *allowed(2), torch.ones(4)).numpy())

    joined = torch.zeros(3, 3)
    joined[1, 2] = 2.0
    assert spans(torch.zeros(3, 3)) == [(1, 2, 0), (2, 3, 0)]
    assert spans(joined) == [(1, 3, 0)]


def test_what_it_refuses():
    with pytest.raises(ValueError, match="TokenMatching takes one tag for each piece"):
        LEARNER.adapt(PARAMS, SUPPORT._replace(y=SUPPORT.y[:, 0], weight=SUPPORT.weight[:, 0]))
    for name in ("scale", "apart", "beyond"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            TokenMatching(Lookup(), **{name: 0})
