"""Files that were cut, flipped, padded or made up: predictors, checkpoints, settings of runs, pictures and tables."""

import hashlib
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mapwise as mw
from mapwise.data.tensor_file import _BLANK, _PLACE
from outcomes import Case, command

QUERIES = [[0.0, 5.0], [9.0, 1.0], [0.5, 4.0]]


def resealed(data: bytes) -> bytes:
    """A file of tensors with the digest of what it now holds, where there is room for one."""
    if len(data) < _PLACE.stop:
        return data
    blank = data[: _PLACE.start] + _BLANK + data[_PLACE.stop :]
    return data[: _PLACE.start] + hashlib.sha256(blank).hexdigest().encode() + data[_PLACE.stop :]


def resealed_text(text: str) -> str:
    """A file of settings with the digest of the lines that it now holds."""
    body = text.rpartition("digest = ")[0]
    return f'{body}digest = "{hashlib.sha256(body.encode()).hexdigest()}"\n'


def damaged(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many truncations, flips of a bit, and bytes written over, in turn."""
    draw = random.Random(seed)
    for number in range(count):
        place = draw.randrange(len(data))
        if number % 3 == 0:
            yield f"cut at {place}", data[:place]
        elif number % 3 == 1:
            flipped = bytearray(data)
            flipped[place] ^= 1 << draw.randrange(8)
            yield f"bit flipped at {place}", bytes(flipped)
        else:
            spoilt = bytearray(data)
            spoilt[place : place + 8] = draw.randbytes(8)[: len(data) - place]
            yield f"bytes written over at {place}", bytes(spoilt)


def predictors(folder: Path, count: int) -> list[Case]:
    """Damaged files of a predictor; every second one has a fresh digest, behind which its numbers may be others."""
    path = folder / "whole.safetensors"
    X = [[0.0, 5.0], [1.0, 5.0], [0.0, 4.0], [9.0, 0.0], [8.0, 1.0], [9.0, 1.0]]
    whole = mw.FewShotClassifier(learner="nearest_mean").fit(X, list("aaabbb"))
    whole.save(path)
    right = whole.predict_proba(QUERIES)

    def case(name: str, data: bytes, sealed: bool) -> Case:
        def door() -> np.ndarray:
            spoilt = folder / "spoilt.safetensors"
            spoilt.write_bytes(resealed(data) if sealed else data)
            answers: np.ndarray = mw.FewShotClassifier.load(spoilt).predict_proba(QUERIES)
            return answers

        def is_right(answers: np.ndarray) -> bool:
            # Under a fresh digest another number is another predictor: it has to answer in probabilities.
            finite = np.isfinite(answers).all() and np.allclose(answers.sum(1), 1)
            return bool(finite and (sealed or np.array_equal(answers, right)))

        return Case(f"predictor {name}{', sealed' if sealed else ''}", door, is_right)

    cut = damaged(path.read_bytes(), count, 0)
    return [case(name, data, number % 2 == 1) for number, (name, data) in enumerate(cut)]


def runs(folder: Path, count: int) -> list[Case]:
    """Damaged checkpoints and settings of a run that is judged; every second one has a fresh digest."""
    run = folder / "run"
    words = ["--ways", 3, "--shots", 1, "--queries", 2, "--steps", 2, "--tasks", 2, "--net", "mlp", "--net.hidden", "4"]
    command("train", "protonet", "digits", *words, "--validation-episodes", 2, "--out", run)
    judge = ("eval", run, "--episodes", 2, "--no-baselines", "--json")
    right = _without_times(command(*judge))

    def case(file: str, name: str, data: bytes, sealed: bool) -> Case:
        whole = (run / file).read_bytes()
        if sealed and file.endswith("toml"):
            data = resealed_text(data.decode(errors="replace")).encode()
        elif sealed:
            data = resealed(data)

        def door() -> str:
            (run / file).write_bytes(data)
            try:
                return command(*judge)
            finally:
                (run / file).write_bytes(whole)

        return Case(
            f"{file} {name}{', sealed' if sealed else ''}", door, lambda out: sealed or _without_times(out) == right
        )

    cases = []
    for file, seed in (("best.safetensors", 1), ("run.toml", 2)):
        for number, (name, data) in enumerate(damaged((run / file).read_bytes(), count // 2, seed)):
            cases.append(case(file, name, data, number % 2 == 1))
    return cases


def _without_times(out: str) -> dict[str, Any]:
    """An answer but for the milliseconds that it took, which no two have in common."""
    return {name: value for name, value in json.loads(out).items() if name != "adapt_ms"}


def pictures(folder: Path, count: int) -> list[Case]:
    """Damaged pictures of many formats, and odd ones that are whole."""
    values = np.full((24, 24, 3), 255, np.uint8)
    X, y = [], []
    for label, part in (("left", np.s_[:, :6]), ("right", np.s_[:, 18:])):
        for row in range(3):
            drawn = values.copy()
            drawn[part] = 10 * row
            X.append(drawn)
            y.append(label)
    file = folder / "pictures.safetensors"
    mw.FewShotClassifier(learner="nearest_mean").fit(X, y).save(file)
    cases = []
    formats = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "ico")
    for place, form in enumerate(formats):
        content = io.BytesIO()
        Image.fromarray(X[0]).save(content, form)
        whole = content.getvalue()
        for number, (name, data) in enumerate([("whole", whole), *damaged(whole, count // len(formats) - 1, place)]):
            path = folder / f"{form}-{number}.{form}"
            path.write_bytes(data)

            def door(path: Path = path) -> str:
                return command("predict", file, path, "--json")

            def is_right(out: str, name: str = name) -> bool:
                answer = json.loads(out)["predictions"][0]
                return answer["label"] == "left" if name == "whole" else 0.5 <= answer["probability"] <= 1

            cases.append(Case(f"{form} {name}", door, is_right))
    return cases


def tables(folder: Path, count: int) -> list[Case]:
    """Damaged tables that a predictor is fitted to."""
    draw = random.Random(0)
    lines = [f"{draw.random():.3f},{draw.choice('rgb')},{'low' if row % 2 else 'high'}" for row in range(12)]
    whole = ("size,colour,kind\n" + "\n".join(lines) + "\n").encode()
    odd = [b"", b"\n" * 50, b",,,\n" * 5, b'"' * 99, b"a,b\n" + b"1,2\n" * 3, b"\xff\xfe" + b"a" * 7, b"\0" * 64]
    cases = []
    for number, (name, data) in enumerate(
        [*((f"odd {place}", one) for place, one in enumerate(odd)), *damaged(whole, count - len(odd), 3)]
    ):
        path = folder / f"table-{number}.csv"
        path.write_bytes(data)

        def door(path: Path = path) -> str:
            words = ("--learner", "nearest_mean", "--json")
            return command("fit", path, "-o", path.with_suffix(".safetensors"), *words)

        # What was read of a damaged table is said, column by column.
        cases.append(Case(f"table {name}", door, lambda out: len(json.loads(out)["columns"]) >= 1))
    return cases


TABLES = {
    "files of predictors": (predictors, 180, 20),
    "files of runs": (runs, 120, 14),
    "pictures": (pictures, 80, 9),
    "tables": (tables, 100, 12),
}
"""What makes the cases of each table, how many there are in all, and how many `make test` tries."""
