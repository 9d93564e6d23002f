"""A learner is trained as it asks where nothing is said, and its rates worth trying can be tried."""

import itertools
import json
from dataclasses import replace

import pytest

from mapwise.catalog.learners import LEARNERS
from mapwise.interfaces.cli import main
from mapwise.learners.row import OUTER_RATES, LearnerRow
from mapwise.runs.flags import FLAGS
from mapwise.runs.settings import RunSettings
from mapwise.workflows.train import check_settings, settings_of

RECIPES = {name: row.recipe for name, row in LEARNERS.items() if row.recipe}


def read(learner, **given):
    return settings_of(learner, "glyphs", given)


def test_some_learner_has_a_recipe_and_most_have_none():
    assert RECIPES.keys() >= {"reptile"}
    assert len(RECIPES) < len(LEARNERS) / 2


@pytest.mark.parametrize("learner", RECIPES)
def test_a_recipe_is_taken_where_nothing_is_said_and_not_where_something_is(learner):
    plain = RunSettings(learner=learner, source="glyphs")
    settings = read(learner)
    for name, value in RECIPES[learner].items():
        assert getattr(settings, name) == value != getattr(plain, name)
    assert read(learner, optimizer="Adam lr=0.5", tasks=3).optimizer == "Adam lr=0.5"
    assert read(learner, tasks=3).tasks == 3


def test_a_schedule_of_a_recipe_can_be_refused():
    assert read("reptile").schedule == "linear"
    assert read("reptile", schedule="none").schedule is None
    assert read("protonet", schedule="none").schedule is None


@pytest.mark.parametrize("learner", RECIPES)
def test_a_recipe_holds_on_any_source(learner):
    about_the_source = {"ways", "shots", "queries", "test_ways", "test_shots", "test_queries", "source", "data", "net"}
    assert not RECIPES[learner].keys() & about_the_source
    assert RECIPES[learner].keys() <= FLAGS.keys()
    for source in ("digits", "glyphs"):
        check_settings(settings_of(learner, source, {}))


def test_a_recipe_is_written_into_the_run_and_shown(tmp_path, capsys):
    words = ["train", "reptile", "digits", "--steps", "2", "--validation-episodes", "2", "--net.hidden", "4"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--inner-steps", "2", "--out", str(tmp_path / "run")])
    assert ended.value.code == 0
    settings = RunSettings.read(tmp_path / "run")
    assert (settings.optimizer, settings.schedule, settings.tasks) == ("SGD lr=1.0", "linear", 5)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["lr"] for record in records] == [1.0, 0.5]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["list", "reptile", "--json"])
    shown = {row["flag"]: row["default"] for row in json.loads(capsys.readouterr().out)["recipe"]}
    assert shown == {"--optimizer": "SGD lr=1.0", "--schedule": "linear", "--tasks": 5}


@pytest.mark.parametrize("learner", ["reptile", "maml"])
@pytest.mark.parametrize("changes", [{}, {"optimizer": "Adam lr=0.001"}, {"schedule": None}, {"tasks": 16, "steps": 7}])
def test_the_command_of_a_run_asks_for_its_settings_again(learner, changes):
    settings = replace(read(learner), **changes)
    words = iter(settings.words()[4:])
    given = {flag.removeprefix("--").replace("-", "_"): value for flag, value in zip(words, words, strict=True)}
    assert read(learner, **given) == settings


def test_a_search_begins_at_the_recipe():
    assert read("reptile").get("optimizer.lr") == 1.0
    assert read("maml").get("optimizer.lr") == 0.001


@pytest.mark.parametrize("learner", [name for name, row in LEARNERS.items() if not row.of_runs])
def test_there_are_two_to_six_candidates_and_each_can_be_tried(learner):
    row = LEARNERS[learner]
    results = [dict(zip(row.tuned, values, strict=True)) for values in itertools.product(*row.tuned.values())]
    assert 2 <= len(results) <= 6
    settings = [read(learner).with_values(values) for values in results]
    for one in settings:
        check_settings(one)
    assert len({str(one) for one in settings}) == len(results)
    # The outer rate is among them, unless the recipe settles it.
    assert "optimizer.lr" in row.tuned or "optimizer" in row.recipe
    assert "inner_lr" in row.tuned or "inner_lr" not in row.fields


def test_a_row_that_names_no_rates_tries_those_of_adam():
    protonet = LEARNERS["protonet"]
    assert LearnerRow(protonet.make, "", "").tuned == OUTER_RATES
