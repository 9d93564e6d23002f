"""SpanFinder: a hand-made net, scores and prototypes written out, and steps against torch's own Adam."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mapwise.core.mini_batch import mini_batch
from mapwise.core.tags import tags_of
from mapwise.core.task import Examples, Task
from mapwise.learners.metric.span_finder import SpanFinder

WORDS, WIDTH = 12, 5


class Lookup(nn.Module):
    """A vector for each piece, from the piece alone."""

    output_shape = (WIDTH,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(WORDS, WIDTH)

    def forward(self, x):
        return torch.tanh(self.table(x["pieces"]))


def rows(texts, spans, names=0, types=2):
    """Texts of one length as examples; the last `names` rows are names of types."""
    tags = torch.tensor([tags_of(of_text, len(text)).tolist() for text, of_text in zip(texts, spans, strict=True)])
    described = torch.tensor([0] * (len(texts) - names) + [1] * names)
    y = F.one_hot(tags, 2 * types + 1).double()
    x = {"pieces": torch.tensor(texts), "described": described}
    return Examples(x, y, torch.ones(tags.shape).double(), torch.tensor(3))


SUPPORT = rows(
    [[1, 2, 3, 4], [5, 1, 6, 7], [8, 9, 2, 3], [10, 10, 10, 10], [11, 11, 11, 11]],
    [[(0, 2, 0)], [(2, 4, 1)], [(0, 1, 0), (2, 3, 1)], [(0, 4, 0)], [(0, 4, 1)]],
    names=2,
)
QUERY = rows([[1, 2, 5, 6], [7, 8, 3, 9]], [[(0, 2, 0)], [(0, 1, 1)]])
LEARNER = SpanFinder(Lookup().double(), tune_steps=0)


def params_of(learner):
    params = learner.init(0)
    torch.manual_seed(1)
    moved = {"weight": torch.randn(3, WIDTH), "bias": torch.randn(3)}
    return {
        "encoder": params["encoder"],
        "finder": {name: leaf.double() for name, leaf in moved.items()},
        "map": torch.randn(WIDTH, WIDTH).double(),
        "log_scale": torch.tensor(1.3).double(),
    }


PARAMS = params_of(LEARNER)


def test_scores_are_those_of_the_formula_written_out():
    table, finder = PARAMS["encoder"]["table.weight"], PARAMS["finder"]

    def placed(piece):
        z = PARAMS["map"] @ torch.tanh(table[piece])
        return z / z.norm()

    members = {0: [1, 2, 8], 1: [6, 7, 2]}
    names = {0: [10] * 4, 1: [11] * 4}
    prototypes = []
    for kind in (0, 1):
        examples = [placed(piece) for piece in members[kind]] + [placed(piece) for piece in names[kind]]
        prototypes.append(torch.stack(examples).mean(0))
    scores = LEARNER.predict(PARAMS, LEARNER.adapt(PARAMS, SUPPORT), QUERY.x)
    for row in range(2):
        for place in range(4):
            piece = int(QUERY.x["pieces"][row, place])
            find = (finder["weight"] @ torch.tanh(table[piece]) + finder["bias"]).softmax(0)
            near = torch.stack([placed(piece) @ prototype for prototype in prototypes])
            kind = (PARAMS["log_scale"].exp() * near).softmax(0)
            expected = torch.stack([find[0], *(find[tag] * kind[t] for t in (0, 1) for tag in (1, 2))]).log()
            torch.testing.assert_close(scores[row, place], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(2, 4).double(), rtol=0, atol=1e-12)


def test_a_name_counts_as_often_as_its_weight_says():
    without = LEARNER.adapt(PARAMS, Examples(*(rows_without(part, 2) for part in SUPPORT[:3]), SUPPORT.key))
    silent = replace(LEARNER, name_weight=0.0)
    torch.testing.assert_close(silent.adapt(PARAMS, SUPPORT)["types"], without["types"], rtol=0, atol=1e-12)
    many = replace(LEARNER, name_weight=1e9).adapt(PARAMS, SUPPORT)["types"]
    names = LEARNER.embed(PARAMS, PARAMS, SUPPORT.x)[3:, 0]
    torch.testing.assert_close(many, names, rtol=0, atol=1e-6)


def rows_without(part, count):
    return {name: leaf[:-count] for name, leaf in part.items()} if isinstance(part, dict) else part[:-count]


def test_a_type_without_examples_is_known_by_its_name_alone_and_one_without_both_is_never_found():
    tags = SUPPORT.y.clone()
    tags[1, :, :], tags[2, 2, :] = 0, 0
    tags[1, :, 0] = tags[2, 2, 0] = 1
    named = LEARNER.adapt(PARAMS, SUPPORT._replace(y=tags))
    assert named["present"].tolist() == [1] * 5
    nameless = SUPPORT._replace(y=tags, weight=SUPPORT.weight * torch.tensor([1, 1, 1, 1, 0])[:, None])
    fast = LEARNER.adapt(PARAMS, nameless)
    assert fast["present"].tolist() == [1, 1, 1, 0, 0]
    scores = LEARNER.predict(PARAMS, fast, QUERY.x)
    assert (scores[..., 3:] < -1e100).all() and scores.isfinite().all()


def test_the_steps_are_those_of_torch_adam():
    learner = replace(LEARNER, tune_steps=7, tune_batch=2, tune_lr=0.02, head_lr=0.01, type_lr=0.05, type_weight=0.7)
    fast = learner.adapt(PARAMS, SUPPORT)
    start = learner.start(PARAMS, SUPPORT)
    leaves = {
        "table": start["encoder"]["table.weight"].clone().requires_grad_(),
        "weight": start["finder"]["weight"].clone().requires_grad_(),
        "bias": start["finder"]["bias"].clone().requires_grad_(),
        "map": start["map"].clone().requires_grad_(),
        "log_scale": start["log_scale"].clone().requires_grad_(),
        "types": start["types"].clone().requires_grad_(),
    }
    rates = [0.02, 0.01, 0.01, 0.01, 0.01, 0.05]
    groups = [{"params": [leaf], "lr": rate} for leaf, rate in zip(leaves.values(), rates, strict=True)]
    optimizer = torch.optim.Adam(groups)
    texts = SUPPORT._replace(weight=SUPPORT.weight * torch.tensor([1, 1, 1, 0, 0])[:, None])
    for step in range(7):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / max(1.0, 0.7)) * (1 - step / 7)
        batch = mini_batch(texts, step, 2)
        point = {
            "encoder": {"table.weight": leaves["table"]},
            "finder": {"weight": leaves["weight"], "bias": leaves["bias"]},
            "map": leaves["map"],
            "log_scale": leaves["log_scale"],
            "types": leaves["types"],
            "present": start["present"],
        }
        scores = learner.predict({}, point, batch.x)
        tags = batch.y.argmax(-1)
        loss, kinds = 0.0, []
        for row, place in zip(*torch.where(batch.weight > 0), strict=True):
            of_word, tag = scores[row, place], int(tags[row, place])
            columns = {0: [0], 1: [1, 3], 2: [2, 4]}[0 if tag == 0 else 2 - tag % 2]
            loss = loss - of_word[columns].logsumexp(0) / batch.weight.sum()
            if tag:
                kinds.append(of_word[columns].logsumexp(0) - of_word[tag])
        loss = loss + learner.type_weight * torch.stack(kinds).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(fast["encoder"]["table.weight"], leaves["table"].detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(fast["finder"]["weight"], leaves["weight"].detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(fast["map"], leaves["map"].detach(), rtol=0, atol=1e-6)
    # Prototypes are means again, in the space that was learned.
    torch.testing.assert_close(fast["types"], learner.start(fast, SUPPORT)["types"], rtol=0, atol=1e-12)


def test_steps_lower_the_loss_of_the_support_and_training_takes_none():
    learner = replace(LEARNER, tune_steps=30, tune_batch=3, tune_lr=0.05, head_lr=0.05)
    texts = SUPPORT._replace(weight=SUPPORT.weight * torch.tensor([1, 1, 1, 0, 0])[:, None])

    def loss(fast):
        return float(learner.criterion(learner.predict(PARAMS, fast, texts.x), texts))

    assert loss(learner.adapt(PARAMS, SUPPORT)) < 0.7 * loss(learner.start(PARAMS, SUPPORT))
    task = Task(SUPPORT, QUERY)
    torch.testing.assert_close(learner.objective(PARAMS, task), LEARNER.objective(PARAMS, task))


def test_resuming_moves_where_spans_are_found_and_nothing_else_but_the_means():
    learner = replace(LEARNER, tune_steps=7, tune_lr=0.02)
    fast = learner.adapt(PARAMS, SUPPORT)
    over = learner.over_adapted(fast)
    rows = SUPPORT._replace(x=over.encode(SUPPORT.x))
    wider = rows._replace(y=torch.cat([rows.y[..., :3], rows.y[..., [4, 3]]], -1))  # words of a type have other places
    resumed = over.learner.resume(over.params, over.params, wider, steps=5)
    leaves = {name: part.clone().requires_grad_() for name, part in fast["finder"].items()}
    optimizer = torch.optim.Adam(leaves.values(), lr=0.01)
    places = torch.stack([wider.y[..., 0], wider.y[..., 1::2].sum(-1), wider.y[..., 2::2].sum(-1)], -1)
    weight = SUPPORT.weight * (1 - SUPPORT.x["described"])[:, None]
    for _ in range(5):
        optimizer.zero_grad()
        find = torch.nn.functional.linear(rows.x["vectors"], leaves["weight"], leaves["bias"]).log_softmax(-1)
        loss = -(weight * (places * find).sum(-1)).sum() / weight.sum()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(resumed["finder"]["weight"], leaves["weight"].detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(resumed["finder"]["bias"], leaves["bias"].detach(), rtol=0, atol=1e-6)
    for name in ("map", "log_scale", "types"):  # the type of each word is the same, so that its mean is, too
        torch.testing.assert_close(resumed[name], fast[name], rtol=0, atol=1e-12)
    assert not resumed["encoder"]


def test_what_it_refuses():
    with pytest.raises(ValueError, match="one tag for each piece"):
        LEARNER.adapt(PARAMS, SUPPORT._replace(y=SUPPORT.y[:, 0], weight=SUPPORT.weight[:, 0]))
    with pytest.raises(ValueError, match="scale is 0"):
        SpanFinder(Lookup(), scale=0)
    with pytest.raises(ValueError, match="tune_batch is 0"):
        SpanFinder(Lookup(), tune_batch=0)
