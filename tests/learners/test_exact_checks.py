"""Bugs that no law can know, since a wrong formula is a learner too: exact checks of the learners catch them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import test_abml
import test_imaml
import test_maml
import test_maml_pp
import test_mann
import test_protonet
import test_prox
import test_versa
import test_zero_shot
from mapwise.core.inner_loop import SGD, descend
from mapwise.learners.generation import abml, versa
from mapwise.learners.metric import protonet, zero_shot
from mapwise.learners.optimization import imaml, maml, maml_pp, prox
from mapwise.nets import memory

MAMLPP = maml_pp.MAMLPlusPlus
KL, DRAWN, HEADS, DISTANCES = abml.divergence, abml.drawn, versa.noise_by_class, protonet.squared_distances
WEIGHTED = MAMLPP._weighted
OF_EVERY_STEP = test_maml_pp.test_the_slope_is_that_of_mamls_of_every_number_of_steps_and_the_value_that_of_the_last

BUGS: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "iMAML: no conjugate gradient": (
        *(imaml, "conjugate_gradient", lambda product, g, **_: g),
        test_imaml.test_on_a_quadratic_it_is_the_closed_form,
    ),
    "Prox: the query rows left out": (
        *(prox, "all_rows", lambda task: task.support),
        test_prox.test_the_slope_is_the_pull_towards_weights_adapted_to_support_and_query,
    ),
    "ABML: KL with the wrong sign": (
        *(abml, "divergence", lambda q, p: -KL(q, p)),
        test_abml.test_the_slope_is_that_of_losses_divergence_and_hyper_prior,
    ),
    "ABML: KL in the wrong direction": (
        *(abml, "divergence", lambda q, p: KL(p, q)),
        test_abml.test_the_slope_is_that_of_losses_divergence_and_hyper_prior,
    ),
    "ABML: the variance taken for the deviation": (
        *(abml, "drawn", lambda q, noise, shapes: DRAWN({**q, "log_sigma": 2 * q["log_sigma"]}, noise, shapes)),
        test_abml.test_an_adaptation_takes_the_steps_of_torchs_sgd_down_the_variational_bound,
    ),
    "ABML: the same noise for every sample": (
        *(abml, "drawn", lambda q, noise, shapes: DRAWN(q, noise[:1].expand_as(noise), shapes)),
        test_abml.test_an_adaptation_takes_the_steps_of_torchs_sgd_down_the_variational_bound,
    ),
    "VERSA: the same noise for every sample": (
        *(versa, "noise_by_class", lambda *given: HEADS(*given)[:1].expand(given[1], -1, -1)),
        test_versa.test_drawn_heads_have_the_mean_and_the_variance_that_are_written,
    ),
    "ProtoNet: unsquared distance": (
        *(protonet, "squared_distances", lambda a, b: DISTANCES(a, b).sqrt()),
        lambda: test_protonet.test_scores_and_loss_equal_numpys("euclidean"),
    ),
    "ZeroShot: rows of any length": (
        *(zero_shot, "normalize", lambda z, dim: z),
        test_zero_shot.test_with_one_description_a_class_and_identity_maps_it_is_the_nearest_mean_of_unit_rows,
    ),
    "MAML: every step taken from theta_0": (
        *(maml, "descend", lambda loss, point, rule, steps, **given: descend(loss, point, rule, 1, **given)),
        test_maml.test_adapting_takes_the_steps_of_torchs_sgd,
    ),
    "MAML++: the rate of step t+1": (
        *(MAMLPP, "_rule", lambda self, params: SGD(lambda t: maml_pp._of_step(params["rates"], t + 1))),
        test_maml_pp.test_every_layer_and_step_has_its_own_rate_and_norm_and_the_query_those_of_the_last_step,
    ),
    "MAML++: the weight of another step": (
        *(MAMLPP, "_weighted", lambda self, losses: WEIGHTED(self, losses[::-1])),
        partial(OF_EVERY_STEP, 0.05),
    ),
    "MANN: usage that ignores reads": (
        *(memory, "decay_usage", lambda usage, reads, writes, decay: decay * usage + writes.sum(0)),
        lambda: test_mann.test_scores_along_a_stream_and_their_loss_equal_numpys(4),
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_exact_check_of_a_learner_catches_a_wrong_formula(bug, monkeypatch):
    owner, name, wrong, check = BUGS[bug]
    check()
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError):
        check()
