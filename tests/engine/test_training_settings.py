"""The settings of a training are written once, and the public functions have them as keywords."""

import inspect
import subprocess
import sys
from dataclasses import MISSING, fields

import pytest

import mapwise as mw
from mapwise.engine.settings import Execution, Training
from mapwise.runs.words import field_meanings


@pytest.mark.parametrize(
    ("function", "settings"), [(mw.train, Training), (mw.train, Execution), (mw.meta_gradient, Execution)]
)
def test_a_public_function_has_the_fields_as_keywords_with_their_defaults(function, settings):
    keywords = inspect.signature(function).parameters
    for field in fields(settings):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        assert keywords[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        # Validation takes no longer than training, unless a number of episodes is given.
        assert keywords[field.name].default == (None if field.name == "validation_episodes" else default), field.name


@pytest.mark.parametrize("settings", [Training, Execution])
def test_every_field_is_documented(settings):
    assert {field.name for field in fields(settings)} <= field_meanings(settings).keys()


def test_settings_are_read_without_torch():
    code = "import sys, mapwise.engine.settings; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
