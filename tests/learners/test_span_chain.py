"""SpanFinder with a chain: its answers and losses are those of all paths of O, B and I, one by one."""

import math
from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core.families.words import moves_of, path_loss
from mapwise.core.tags import allowed, learned_moves, tags_of
from mapwise.core.task import Examples, Task
from mapwise.learners.metric.span_finder import SpanFinder

WORDS, WIDTH = 12, 5
OUT, BEGIN, IN = range(3)


class Lookup(nn.Module):
    """A vector for each piece, from the piece alone."""

    output_shape = (WIDTH,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(WORDS, WIDTH)

    def forward(self, x):
        return torch.tanh(self.table(x["pieces"]))


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
    [[1, 2, 3, 4], [5, 1, 6, 7], [8, 9, 2, 3], [10, 10, 10, 10], [11, 11, 11, 11]],
    [[(0, 2, 0)], [(2, 4, 1)], [(0, 1, 0), (2, 3, 1)], [(0, 4, 0)], [(0, 4, 1)]],
    names=2,
)
# The second text has a piece that begins no word, between two words of one span.
QUERY = rows([[1, 2, 5, 6], [7, 8, 3, 9]], [[(0, 2, 0)], [(0, 3, 1)]], starts=[[1, 1, 1, 1], [1, 0, 1, 1]])
LEARNER = SpanFinder(Lookup().double(), chain=True)


def params_of(learner):
    params = learner.init(0)
    torch.manual_seed(1)
    drawn = {
        "finder": {"weight": torch.randn(3, WIDTH).double(), "bias": torch.randn(3).double()},
        "map": torch.randn(WIDTH, WIDTH).double(),
        "log_scale": torch.tensor(1.3).double(),
    }
    table = {"moves": torch.randn(3, 3).double() / 10, "start": torch.randn(3).double() / 10}
    return {"encoder": params["encoder"], **drawn, **({"table": table} if learner.chain else {})}


PARAMS = params_of(LEARNER)


def by_itself(params, fast, pieces):
    """The logarithms of P(O), P(B) and P(I) of every piece, and of P(type), from the formulas."""
    z = torch.tanh(params["encoder"]["table.weight"][pieces])
    placed = F.normalize(z @ params["map"].T, dim=-1)
    find = (z @ params["finder"]["weight"].T + params["finder"]["bias"]).log_softmax(-1)
    return find, (params["log_scale"].exp() * placed @ fast["types"].T).log_softmax(-1)


def weights_of_paths(find, table, places):
    """Path of the words at these places -> exp of its score, of paths that are allowed."""
    weights = {}
    for path in product((OUT, BEGIN, IN), repeat=len(places)):
        if path[0] == IN or (OUT, IN) in pairwise(path):
            continue
        score = 10 * (table["start"][path[0]] + sum(table["moves"][one, other] for one, other in pairwise(path)))
        weights[path] = (score + sum(find[place, state] for place, state in zip(places, path, strict=True))).exp()
    return weights


@pytest.mark.parametrize("zero", [False, True], ids=["learned", "zero"])
def test_places_are_the_marginals_of_all_allowed_paths_and_types_multiply(zero):
    params = {**PARAMS, "table": {name: 0 * leaf for name, leaf in PARAMS["table"].items()}} if zero else PARAMS
    fast = LEARNER.adapt(params, SUPPORT)
    scores = LEARNER.predict(params, fast, QUERY.x)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(2, 4).double(), rtol=0, atol=1e-12)
    for row in range(2):
        find, kind = by_itself(params, fast, QUERY.x["pieces"][row])
        places = QUERY.x["starts"][row].nonzero()[:, 0].tolist()
        weights = weights_of_paths(find, params["table"], places)
        for at, place in enumerate(places):
            share = [sum(w for path, w in weights.items() if path[at] == state) for state in (OUT, BEGIN, IN)]
            share = torch.stack([torch.as_tensor(part) for part in share]) / sum(weights.values())
            expected = torch.stack(
                [share[OUT], *(share[tag] * kind[place, t].exp() for t in (0, 1) for tag in (BEGIN, IN))]
            )
            torch.testing.assert_close(scores[row, place].exp(), expected, rtol=0, atol=1e-12)


def test_with_a_zero_table_a_path_has_its_chance_without_a_chain_among_those_that_are_allowed():
    plain = replace(LEARNER, chain=False)
    zero = {**PARAMS, "table": {name: 0 * leaf for name, leaf in PARAMS["table"].items()}}
    apart = plain.predict(PARAMS, plain.adapt(PARAMS, SUPPORT), QUERY.x)[0].exp()  # word by word
    places = torch.stack([apart[:, 0], apart[:, 1::2].sum(-1), apart[:, 2::2].sum(-1)], -1)
    chances = {path: math.prod(float(places[w, s]) for w, s in enumerate(path)) for path in product(range(3), repeat=4)}
    possible = {path: p for path, p in chances.items() if path[0] != IN and (OUT, IN) not in pairwise(path)}
    scores = LEARNER.predict(zero, LEARNER.adapt(zero, SUPPORT), QUERY.x)[0].exp()
    for word in range(4):
        outside = sum(p for path, p in possible.items() if path[word] == OUT) / sum(possible.values())
        assert float(scores[word, 0]) == pytest.approx(outside, abs=1e-12)


def test_the_objective_is_the_likelihood_of_the_true_paths_and_of_their_types():
    fast = LEARNER.adapt(PARAMS, SUPPORT)
    loss, words = 0.0, 0
    for row in range(2):
        find, kind = by_itself(PARAMS, fast, QUERY.x["pieces"][row])
        places = QUERY.x["starts"][row].nonzero()[:, 0].tolist()
        tags = [int(QUERY.y[row, place].argmax()) for place in places]
        weights = weights_of_paths(find, PARAMS["table"], places)
        true = tuple(OUT if tag == 0 else BEGIN if tag % 2 else IN for tag in tags)
        loss -= (weights[true] / sum(weights.values())).log()
        loss -= sum(kind[place, (tag - 1) // 2] for place, tag in zip(places, tags, strict=True) if tag)
        words += len(places)
    torch.testing.assert_close(LEARNER.objective(PARAMS, Task(SUPPORT, QUERY)), loss / words, rtol=0, atol=1e-12)


def test_the_gradient_of_the_table_is_that_of_finite_differences():
    def loss(moves, start):
        return LEARNER.objective({**PARAMS, "table": {"moves": moves, "start": start}}, Task(SUPPORT, QUERY))

    leaves = [PARAMS["table"][name].clone().requires_grad_() for name in ("moves", "start")]
    assert torch.autograd.gradcheck(loss, leaves)
    moves, start = torch.autograd.grad(loss(*leaves), leaves)
    assert moves[OUT, IN] == 0 and start[IN] == 0 and (moves != 0).sum() > 4


def test_words_of_weight_zero_may_be_anything_and_a_text_may_begin_inside_of_a_span():
    torch.manual_seed(2)
    scores, table = torch.randn(1, 3, 3).double(), PARAMS["table"]
    moves = moves_of(table, 1)
    weights = weights_of_paths(scores[0], table, [0, 1, 2])

    def loss(path, weight):
        y = F.one_hot(torch.tensor([path]), 3).double()
        known = Examples(None, y, torch.tensor([weight]).double(), torch.tensor(0))
        return float(path_loss(scores, moves, known, torch.ones(1, 3)))

    total = float(sum(weights.values()))
    middle = sum(w for path, w in weights.items() if path[0] == BEGIN and path[2] == OUT)
    assert loss([BEGIN, OUT, OUT], [1, 0, 1]) == pytest.approx(-math.log(middle / total) / 2, abs=1e-12)
    behind = sum(w for path, w in weights.items() if path[1:] == (IN, OUT))
    assert loss([IN, IN, OUT], [1, 1, 1]) == pytest.approx(-math.log(behind / total) / 3, abs=1e-12)
    assert loss([BEGIN, IN, IN], [0, 0, 0]) == 0
    assert loss([BEGIN, IN, OUT], [2, 2, 2]) == pytest.approx(loss([BEGIN, IN, OUT], [1, 1, 1]), abs=1e-12)


def test_a_learned_table_scores_the_moves_of_every_type_alike():
    table, start = torch.randn(3, 3), torch.randn(3)
    moves, barred = learned_moves(table, start, 2), allowed(2)
    place = [OUT, BEGIN, IN, BEGIN, IN]
    for one in range(5):
        assert moves.start[one] == start[place[one]] + barred.start[one]
        for other in range(5):
            assert moves.transitions[one, other] == table[place[one], place[other]] + barred.transitions[one, other]


def test_tuning_moves_the_table_down_the_loss_of_the_support():
    start = {**PARAMS, "table": {name: 0 * leaf for name, leaf in PARAMS["table"].items()}}
    still = LEARNER.adapt(start, SUPPORT)
    moved = replace(LEARNER, tune_steps=20, head_lr=0.05).adapt(start, SUPPORT)
    texts = SUPPORT._replace(weight=SUPPORT.weight * torch.tensor([1, 1, 1, 0, 0])[:, None])
    assert (moved["table"]["moves"] != 0).sum() > 4 and moved["table"]["start"][BEGIN] > moved["table"]["start"][OUT]
    assert float(LEARNER._loss(moved, texts)) < 0.7 * float(LEARNER._loss(still, texts))


def test_without_a_chain_there_is_no_table():
    plain = replace(LEARNER, chain=False)
    assert set(LEARNER.init(0)) - set(plain.init(0)) == {"table"}
    assert "table" not in plain.adapt(params_of(plain), SUPPORT)
    assert LEARNER.init(0)["table"]["moves"].eq(0).all() and LEARNER.init(0)["table"]["start"].eq(0).all()
