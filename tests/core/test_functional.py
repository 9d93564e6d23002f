"""Modules as functions: borrowed weights, the parameters a pattern chooses, and what enters the head."""

import pytest
import torch
from torch import nn

from mapwise.core import functional
from mapwise.nets import MLP


def test_a_built_module_keeps_its_weights_and_its_params_are_a_copy():
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    params = functional.initial_weights(module, seed=5)
    assert list(params) == [name for name, _ in module.named_parameters()]
    assert all(torch.equal(params[name], p) for name, p in module.named_parameters())
    before = module[0].weight.detach().clone()
    params["0.weight"].add_(1)
    assert torch.equal(module[0].weight, before)
    x = torch.ones(4, 2)
    doubled = {name: 2 * leaf for name, leaf in functional.initial_weights(module, 0).items()}
    hidden = torch.tanh(x @ doubled["0.weight"].T + doubled["0.bias"])
    assert torch.allclose(functional.apply(module, doubled, x), hidden @ doubled["2.weight"].T + doubled["2.bias"])


def test_a_callable_is_built_under_the_seed():
    def build() -> nn.Module:
        return nn.Linear(3, 2)

    one, again, other = (functional.initial_weights(build, seed) for seed in (1, 1, 2))
    assert torch.equal(one["weight"], again["weight"]) and not torch.equal(one["weight"], other["weight"])


def test_frozen_weights_stay_in_the_module():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    module[0].requires_grad_(False)
    params = functional.initial_weights(module, 0)
    assert set(params) == {"1.weight", "1.bias"}
    x = torch.ones(1, 2)
    assert torch.allclose(functional.apply(module, params, x), module(x))


def test_modules_that_change_or_draw_while_they_run_are_refused():
    with pytest.raises(ValueError, match=r"layer '1' \(BatchNorm1d\) updates running statistics"):
        functional.blueprint(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match=r"layer '0' \(Dropout\) draws random numbers"):
        functional.blueprint(nn.Sequential(nn.Dropout(0.5)))
    functional.blueprint(nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).eval())
    functional.blueprint(nn.BatchNorm1d(2, track_running_stats=False))


def test_a_parameter_with_a_reserved_name_is_refused():
    module = nn.Module()
    module.measured = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="'measured', a reserved name"):
        functional.initial_weights(module, 0)


def test_parameters_are_chosen_by_patterns_and_head_and_body_by_the_nets_order():
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(11)))
    weights = functional.initial_weights(net, 0)
    # As a file hands them back: sorted by spelling, so that "9.weight" is last and not the head.
    weights = {name: weights[name] for name in sorted(weights)}
    head, body = functional.split_weights(net, weights, ("head",))
    assert set(head) == {"10.weight", "10.bias"} and set(head) | set(body) == set(weights)
    assert functional.split_weights(net, weights, ("body",))[0].keys() == body.keys()
    assert set(functional.split_weights(net, weights, ("1.*", "10.bias"))[0]) == {"1.weight", "1.bias", "10.bias"}
    assert functional.split_weights(net, weights, ("*",))[1] == {}
    with pytest.raises(ValueError, match=r"the pattern 'haed' matches none of the parameters"):
        functional.split_weights(net, weights, ("haed",))


def test_headless_gives_what_enters_the_head():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    weights = functional.initial_weights(net, 0)
    x = torch.ones(2, 2)
    features = functional.apply(functional.headless(net), functional.body_weights(net, weights), x)
    assert torch.allclose(features, torch.tanh(net[0](x)))
    with pytest.raises(ValueError, match="a single layer"):
        functional.headless(nn.Linear(2, 2))


def test_who_normalises_by_what_can_be_asked():
    kinds = {None: set(), "batch": {"rows"}, "support": {"statistics"}, "frozen": {"measured"}, "group": set()}
    for norm, expected in kinds.items():
        assert functional.statistics_kept(MLP((2,), 2, norm=norm)) == expected
    assert functional.statistics_kept(nn.BatchNorm1d(2, track_running_stats=False)) == {"rows"}


def test_weights_that_a_module_holds_under_two_names_are_given_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    net, x = Tied(), torch.randn(2, 3)
    weights = functional.initial_weights(net, 0)
    assert list(weights) == ["first.weight"]
    doubled = {"first.weight": 2 * weights["first.weight"]}
    torch.testing.assert_close(functional.apply(net, doubled, x), 4 * net(x))
    untied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    given = {"0.weight": 2 * untied[0].weight}
    torch.testing.assert_close(functional.apply(untied, given, x), 2 * untied(x))
