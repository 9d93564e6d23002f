"""The house rules that can be read off the source: floors, late imports, names, nothing that runs downloaded code.

Every rule is a function from a source text to its faults, so that each can be shown a text that breaks it.
"""

import pytest

from floors import (
    AT_THE_TOP,
    HEAVY,
    PACKAGE,
    VARIANTS,
    floor_faults,
    heavy_faults,
    imports,
    learner_faults,
    loaded,
    name_faults,
    public_faults,
    sources,
    unsafe_faults,
)

RULES = [floor_faults, learner_faults, heavy_faults, unsafe_faults]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removesuffix("_faults"))
def test_the_library_keeps_the_rule(rule):
    files = list(sources())
    assert len(files) > 10, f"there is no library at {PACKAGE}"
    faults = [fault for text, module, is_package in files for fault in rule(text, module, is_package)]
    assert not faults, "\n".join(faults)


def test_every_file_has_a_name_that_says_something():
    faults = [fault for path in PACKAGE.rglob("*.py") for fault in name_faults(path.relative_to(PACKAGE).as_posix())]
    assert not faults, "\n".join(faults)


def test_the_stub_lists_every_public_name_once():
    faults = public_faults((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    assert not faults, "\n".join(faults)


def test_every_public_name_can_be_had_and_no_other():
    import mapwise

    for name in mapwise.__all__:
        assert getattr(mapwise, name) is not None, name
    assert set(mapwise.__all__) <= set(dir(mapwise))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mapwise.no_such_name


@pytest.mark.parametrize("statement", ["import mapwise", "import mapwise.interfaces.cli"])
def test_starting_loads_nothing_heavy(statement):
    assert loaded(statement, HEAVY | {"torch", "numpy"}) == set()


def test_every_licence_to_import_a_neighbour_is_used():
    used = {
        module
        for text, module, is_package in sources()
        for result in imports(text, module, is_package)
        if module in VARIANTS and f"{result.target}.".startswith(f"{VARIANTS[module]}.")
    }
    assert used == set(VARIANTS)


def test_every_licence_to_import_a_heavy_package_at_the_top_is_used():
    used = {
        module
        for text, module, is_package in sources()
        for result in imports(text, module, is_package)
        if result.target.split(".")[0] == AT_THE_TOP.get(module) and not result.late
    }
    assert used == set(AT_THE_TOP)
