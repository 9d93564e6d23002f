"""What keeps the house in order beside its floors: no circles, short files, unique names, problems that are asked.

Each guard is a function from source texts to its faults, shown a text that breaks it. `pytest -s -k drawing` prints the
house as its imports draw it.
"""

import ast
from collections import defaultdict

import pytest

from conftest import ROOT
from floors import FLOORS, TOP, imports, part_of, sources

LONGEST = 400
"""Lines of a file."""
LONG: dict[str, str] = {
    # file -> why it is longer: one story, or a table of data
    "tests/laws/test_planted_bugs.py": "a list of bugs, each a few lines",
    "tests/engine/test_ranks.py": "one server of processes and what it is asked to do",
    "tests/engine/test_resume.py": "one server of processes and the moments at which they are killed",
    "tests/encoders/test_hugging_face.py": "tiny models, made once",
    "tests/house/test_benchmarks.py": "one test a script",
    "tests/house/test_numbers.py": "one table of rows, shown on every page",
}
INNER = 4
"""Floors inside a folder: the longest chain of its files that import one another."""
PROBLEM_NAMES = {"classification", "regression", "multilabel", "spans"}
SHARED: dict[str, str] = {
    # a public name in two modules -> why
}


def modules() -> dict[str, tuple[str, bool]]:
    return {module: (text, is_package) for text, module, is_package in sources()}


def graph(files: dict[str, tuple[str, bool]], *, late: bool = False) -> dict[str, set[str]]:
    """Module -> the modules of the house it imports when it is imported; late: also those it imports later."""
    edges: dict[str, set[str]] = {module: set() for module in files}
    for module, (text, is_package) in files.items():
        for one in imports(text, module, is_package):
            if one.late and not late:
                continue
            # A name inside a module, or the module itself.
            for target in (one.target, one.target.rpartition(".")[0]):
                if target in files and target != module:
                    edges[module].add(target)
                    break
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """A circle of the graph; [] when there is none."""
    done: set[str] = set()

    def visit(node: str, above: list[str]) -> list[str]:
        if node in above:
            return [*above[above.index(node) :], node]
        if node in done:
            return []
        for target in sorted(edges[node]):
            if around := visit(target, [*above, node]):
                return around
        done.add(node)
        return []

    return next((around for node in edges if (around := visit(node, []))), [])


def chain(edges: dict[str, set[str]], folder: str) -> list[str]:
    """The longest chain of imports among the files right inside a folder."""
    inside = {module for module in edges if module.rpartition(".")[0] == folder}
    longest: dict[str, list[str]] = {}

    def below(module: str) -> list[str]:
        if module not in longest:
            longest[module] = []
            chains = [below(target) for target in edges[module] & inside]
            longest[module] = [module, *max(chains, key=len, default=[])]
        return longest[module]

    return max(map(below, sorted(inside)), key=len, default=[])


def problem_faults(source: str, module: str) -> list[str]:
    """Comparisons with the name of a problem."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            values = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
            if named := values & PROBLEM_NAMES:
                faults.append(f"{module}:{node.lineno}: compares with {min(named)!r}: ask the problem instead")
    return faults


def shared_names(files: dict[str, tuple[str, bool]]) -> dict[str, list[str]]:
    """Public functions and classes that two modules have."""
    homes = defaultdict(list)
    for module, (text, _) in files.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module)
    return {name: places for name, places in homes.items() if len(places) > 1}


def too_long(lengths: dict[str, int]) -> dict[str, int]:
    """The files that are too long and no exception, with their lines."""
    return {path: length for path, length in lengths.items() if length > LONGEST and path not in LONG}


def test_imports_make_no_circle():
    assert circle(graph(modules(), late=True)) == []


def test_no_folder_has_more_than_four_floors_inside():
    edges = graph(modules())
    folders = {module.rpartition(".")[0] for module in edges}
    deep = {folder: line for folder in folders if len(line := chain(edges, folder)) > INNER}
    assert not deep, deep


def test_files_are_short_enough_to_read():
    files = [path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not too_long(lengths), too_long(lengths)
    assert all(lengths.get(path, LONGEST + 1) > LONGEST for path in LONG), "an exception that is no longer needed"


def test_no_problem_is_known_by_its_name():
    faults = [
        fault
        for module, (text, _) in modules().items()
        if not module.startswith("mapwise.problems")
        for fault in problem_faults(text, module)
    ]
    assert not faults, "\n".join(faults)


def test_a_public_name_has_one_home():
    shared = shared_names(modules())
    assert {name: places for name, places in shared.items() if name not in SHARED} == {}
    assert set(SHARED) <= set(shared), "an exception that is no longer needed"


def drawing() -> str:
    """Every floor with its rooms and what each imports."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph(modules(), late=True).items():
        rooms[part_of(module)] |= {part_of(target) for target in targets if target != "mapwise"} - {part_of(module)}
    lines = sorted((-FLOORS[room], room, " ".join(sorted(below)) or "-") for room, below in rooms.items())
    return "\n".join(f"{-floor:2}  {room:12} -> {below}" for floor, room, below in lines)


def test_the_drawing_of_the_house_goes_down_by_whole_floors():
    text = drawing()
    print(text)  # noqa: T201 (shown by pytest -s)
    for line in text.splitlines():
        floor, room, _, *below = line.split()
        assert int(floor) == FLOORS[room]
        assert all(FLOORS[target] < int(floor) for target in below if target != "-"), line


def house() -> str:
    """The rooms of every floor, from the lowest to the highest, as CONTRIBUTING draws them."""
    floors = [[room for room, at in FLOORS.items() if at == floor] for floor in sorted(set(FLOORS.values()) - {TOP})]
    return " <- ".join(" | ".join(rooms) for rooms in floors)


def test_contributing_draws_the_house_as_it_stands():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert house() in " ".join(text.split()), house()


# Each guard is shown a text that breaks it.


def test_an_import_for_types_alone_or_inside_a_function_is_in_the_graph():
    files = {
        "mapwise.a": ("if TYPE_CHECKING:\n    from mapwise.b import B", False),
        "mapwise.b": ("def f():\n    import mapwise.a", False),
    }
    assert circle(graph(files)) == []
    assert circle(graph(files, late=True)) == ["mapwise.a", "mapwise.b", "mapwise.a"]


def test_a_circle_is_caught():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_a_long_file_is_caught():
    assert too_long({"src/a.py": LONGEST + 1, "src/b.py": LONGEST, min(LONG): 9999}) == {"src/a.py": LONGEST + 1}


def test_a_deep_folder_is_caught():
    edges = {f"f.{name}": {f"f.{below}"} for name, below in ("ab", "bc", "cd", "de")} | {"f.e": set(), "g.x": set()}
    assert [module[-1] for module in chain(edges, "f")] == list("abcde")


@pytest.mark.parametrize("source", ["if kind == 'regression': ...", "x = problem.name in ('a', 'multilabel')"])
def test_a_comparison_with_a_problem_is_caught(source):
    assert len(problem_faults(source, "mapwise.engine.x")) == 1
    assert problem_faults("row = Row('regression')", "mapwise.catalog") == []


def test_a_name_with_two_homes_is_caught():
    files = {"a": ("def f(): ...\ndef _g(): ...", False), "b": ("class f: ...\ndef _g(): ...", False)}
    assert shared_names(files) == {"f": ["a", "b"]}


def conflicts(texts: dict[str, str]) -> list[str]:
    """Lines that a merge left behind."""
    return [
        f"{name}:{number}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if line.startswith(("<" * 7 + " ", ">" * 7 + " "))
    ]


def test_no_file_holds_what_a_merge_left_behind():
    kinds = (".md", ".py", ".toml", ".txt", ".js", ".css", ".html")
    folders = [ROOT / name for name in ("src", "tests", "docs", "benchmarks")]
    files = [
        path for folder in (ROOT, *folders) for path in (folder.glob("*") if folder == ROOT else folder.rglob("*"))
    ]
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files if path.suffix in kinds}
    assert len(texts) > 500 and conflicts(texts) == []
    assert conflicts({"a.md": "one\n" + "<" * 7 + " HEAD\ntwo\n"}) == ["a.md:2"]
