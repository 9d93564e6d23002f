"""mapwise fit, predict, add-class and export: a predictor's file, from pictures or a CSV file and to answers."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mapwise.data.cells import GAPS, CellError, parse_number
from mapwise.data.files import is_stream, read
from mapwise.data.inputs import columns, words
from mapwise.data.modality import Columns, Modality
from mapwise.encoders.encoder import Encoder
from mapwise.interfaces.printing import spreadsheet_cell
from mapwise.interfaces.progress import Watched
from mapwise.predictors.choose_learner import Tried
from mapwise.predictors.classes import Predictor
from mapwise.predictors.diagnostics import cross_validation, novelty
from mapwise.predictors.evidence.cross_validation import HeldOut
from mapwise.predictors.fit import LabelledExamples, check_name, with_names
from mapwise.predictors.fit import fit as fit_predictor
from mapwise.predictors.heads.head import AUTO
from mapwise.predictors.onnx import export_onnx

MOST_TEXTS = 1_000_000
"""Lines of a file that is read."""
_SHOWN = 100
"""Columns of a table in the answer to a person."""


def fit(
    data: Path,
    out: Path,
    *,
    encoder: str | None,
    learner: str,
    text: str | None,
    label: str | None,
    budget: str,
    categories: Sequence[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """Teach a predictor the examples of a folder of class folders, or of a CSV file, and write it.

    categories: columns of the CSV file to read as words, whatever they look like.

    Returns what came of it, JSON-ready, and as lines for a person. Raises ValueError for data that teach nothing.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"a predictor is a safetensors file and {out} ends otherwise: call it {out.stem}.safetensors")
    if not data.exists():
        raise ValueError(f"{data} is not there: give a folder with one folder of pictures a class, or a CSV file")
    if categories and (data.is_dir() or text is not None):
        raise ValueError(f"--categories names columns of a table and {data} is not read as one: leave it out")
    rows, names, modality, sources = _folder(data) if data.is_dir() else _table(data, text, label, categories)
    with placed(sources):
        fitted = fit_predictor(
            LabelledExamples(rows, modality, np.asarray(names, dtype=object), sources=sources),
            encoder=encoder or AUTO,
            learner=learner,
            budget=budget,
            note=text or "",
            progress=lambda rows: rows if modality == "table" else Watched(rows, f"reading {modality}"),
        )
    predictor, held_out = fitted.predictor, fitted.report
    predictor.save(out)
    columns = _columns_read(predictor.encoder, rows) if isinstance(rows, dict) else []
    about = {
        "file": str(out),
        "encoder": predictor.encoder.name,
        "learner": predictor.head.name,
        "bytes": out.stat().st_size,
        "classes": predictor.counts,
        "columns": columns,
        "held_out": as_json(held_out),
        "tried": [_tried_as_json(one) for one in fitted.tried],
    }
    lines = [
        f"{out}: {len(names)} examples of {len(predictor.classes)} classes, {about['bytes']:,} bytes",
        *_column_lines(columns),
        *(["learners, by examples they didn't see:"] if fitted.tried else []),
        *_choices(fitted.tried),
        str(held_out),
        *([held_out.outlook] if held_out.outlook else []),
    ]
    return about, lines


def predict(file: Path, inputs: Sequence[str], refuse: float) -> tuple[dict[str, Any], list[str], str]:
    """The answers of a predictor's file to paths, texts, or the rows of CSV files: JSON-ready, as lines, and as CSV.

    refuse: 0..1: of rows of the classes, the share that may be taken for none of them; 0: none is.

    Raises ValueError for a file that is no predictor, for inputs that can't be read, and for another share.
    """
    if not 0 <= refuse < 1:
        raise ValueError(f"--refuse is {100 * refuse:g} and a percentage from 0 to below 100 is needed: give 5, say")
    predictor = Predictor.load(file)
    sources, rows = asked(predictor, inputs)
    with placed(sources):
        encoded = predictor.encoded(rows)
    unknown, why = _unknown(predictor, encoded, refuse)
    predictions: list[dict[str, Any]] = [
        {
            "input": what,
            "label": predictor.classes[int(chance.argmax())],
            "probability": float(chance.max()),
            "unknown": no,
        }
        for what, chance, no in zip(sources, predictor.probabilities_of(encoded), unknown, strict=True)
    ]
    names = [f"none of these (nearest {one['label']})" if one["unknown"] else one["label"] for one in predictions]
    width = max(map(len, names))
    shown = [
        f"{name:{width}}  {100 * one['probability']:5.1f} %  {one['input']}"
        for name, one in zip(names, predictions, strict=True)
    ]
    sheet = io.StringIO()
    written = csv.DictWriter(sheet, ["input", "label", "probability", "unknown"], lineterminator="\n")
    written.writeheader()
    yes_or_no = {True: "yes", False: "no", None: ""}
    for one in predictions:
        cells = {name: spreadsheet_cell(one[name]) for name in ("input", "label")}
        written.writerow({**one, **cells, "unknown": yes_or_no[one["unknown"]]})
    about = {"file": str(file), "refuse": refuse, "predictions": predictions, "why": why}
    return about, [*shown, *([f"note: {why}"] if why else [])], sheet.getvalue().rstrip("\n")


def add_class(file: Path, name: str, data: Path) -> tuple[dict[str, Any], list[str]]:
    """Teach a predictor's file one more class, from a folder of pictures, or a text file with one text a line.

    The examples that are there are not read again. Raises ValueError for a name that is there or is no line of text.
    """
    check_name(name)
    predictor = Predictor.load(file)
    reads = predictor.encoder.reads
    if name in predictor.classes:
        raise ValueError(f"there is a class {name!r} already: give another name")
    if reads == "table":
        raise ValueError(f"{file} reads tables, whose classes stand in a column: fit it again with the new rows")
    if reads == "pictures":
        rows: Sequence[Any] = _pictures(data)
        sources = [f"{data.resolve().name}/{path.relative_to(data).as_posix()}" for path in rows]
    else:
        rows = _lines(data)
        sources = [f"{data.name}, text {place}" for place in range(1, len(rows) + 1)]
    examples = LabelledExamples(rows, reads, np.full(len(rows), name, dtype=object), sources=sources)
    wider = with_names(predictor, examples, progress=lambda rows: Watched(rows, f"reading {reads}"))
    before, now = cross_validation.report(predictor), cross_validation.report(wider)
    wider.save(file)
    lines = [f"{file}: {name}, {len(rows)} examples", f"before: {before}", f"now: {now}"]
    about = {"file": str(file), "classes": wider.counts, "before": as_json(before), "held_out": as_json(now)}
    return about, lines


def export(file: Path, out: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Write the learner of a predictor's file as an ONNX file, by default beside it.

    Raises ValueError for a file that is no predictor, and for a learner that no ONNX file can hold.
    """
    path = file.with_suffix(".onnx") if out is None else out
    if path.suffix != ".onnx":
        raise ValueError(f"an ONNX file is asked for and {path} ends otherwise: call it {path.stem}.onnx")
    predictor = Predictor.load(file)
    written = export_onnx(predictor, path)
    about = {"file": str(path), "bytes": written.bytes, "encoder": predictor.encoder.name, "farthest": written.farthest}
    shown = [
        f"{path}: {written.bytes:,} bytes, for rows of the encoder {predictor.encoder.name}; asked beside the "
        f"predictor's learner, its probabilities are within {written.farthest:.0e} of that one's"
    ]
    return about, shown


def _choices(tried: Sequence[Tried]) -> list[str]:
    """The table of what was tried; a reason that is that of the chosen one too stands there alone."""
    shared = {one.why for one in tried if one.chosen}
    lines = []
    for one in tried:
        accuracy = "" if one.found is None or one.found.accuracy is None else f"{100 * one.found.accuracy:.0f} %"
        why = one.why if one.chosen or one.why not in shared else ""
        outcome = f"  {accuracy:5}  {one.seconds:4.1f} s" if accuracy else f"  {why:12}"
        lines.append(f"  {one.learner:12}{outcome}{'  chosen' if one.chosen else ''}".rstrip())
    return lines


def _tried_as_json(one: Tried) -> dict[str, Any]:
    accuracy = None if one.found is None else one.found.accuracy
    return {
        "learner": one.learner,
        "accuracy": accuracy,
        "seconds": one.seconds,
        "chosen": one.chosen,
        "why": one.why,
    }


def _unknown(predictor: Predictor, encoded: np.ndarray, refuse: float) -> tuple[list[bool | None], str]:
    """Whether each row is none of the classes, None where that is unknown; and why."""
    if refuse == 0:
        return [False] * len(encoded), ""
    try:
        return novelty.unknown(predictor, encoded, refuse).tolist(), ""
    except ValueError as few:
        return [None] * len(encoded), f"what is none of these is unknown: {few}"


def _folder(data: Path) -> tuple[list[Path], list[str], Modality, list[str]]:
    """Paths, the class of each, what they are, and where in the folder each lies."""
    from mapwise.data.images import files_in, visible

    classes = [path for path in visible(data) if path.is_dir()]
    if not classes:
        raise ValueError(f"{data} has no folders in it: put the pictures of each class into a folder of its own")
    pictures = [(path, folder.name) for folder in classes for path in files_in(folder)]
    if not pictures:
        raise ValueError(f"the class folders in {data} hold no files: put at least one picture into each")
    sources = [path.relative_to(data).as_posix() for path, _ in pictures]
    return [path for path, _ in pictures], [name for _, name in pictures], "pictures", sources


def _table(
    data: Path, text: str | None, label: str | None, categories: Sequence[str]
) -> tuple[Any, list[str], Modality, list[str]]:
    from mapwise.data.tables import check_categories, label_place

    header, lines, cells = _cells(data)
    place = label_place(data, header, label)
    check_categories(data, header, place, categories)
    names = [row[place] for row in cells]
    for line, name in zip(lines, names, strict=True):
        if not name:
            raise ValueError(f"line {line} of {data} has no label in column {header[place]!r}: fill it or drop the row")
    sources = [f"{data.name}, line {line}" for line in lines]
    if text is not None:
        if text not in header:
            raise ValueError(f"{data} has no column {text!r}: its columns are {', '.join(header[:20])}")
        return [row[header.index(text)] for row in cells], names, "texts", sources
    rest = [i for i in range(len(header)) if i != place]
    table = _columns([header[i] for i in rest], [[row[i] for i in rest] for row in cells])
    return table | {name: words(table[name]) for name in categories}, names, "table", sources


def _cells(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    from mapwise.data.tables import cells_of

    return cells_of(path)


def _columns(header: Sequence[str], cells: list[list[str]]) -> dict[str, np.ndarray]:
    by_place = columns(np.asarray(cells, dtype=object).reshape(len(cells), len(header)))
    return {name: by_place[str(place)] for place, name in enumerate(header)}


def asked(predictor: Predictor, inputs: Sequence[str]) -> tuple[list[str], Any]:
    """What each answer is about, and the raw rows."""
    reads = predictor.encoder.reads
    if reads == "pictures":
        from mapwise.data.images import files_in

        paths = [Path(given).expanduser() for given in inputs]
        pictures = [file for path in paths for file in (files_in(path) if path.is_dir() else [path])]
        if not pictures:
            raise ValueError(f"{inputs[0]} holds no files: give pictures, or a folder of them")
        return [str(path) for path in pictures], Watched(pictures, "reading pictures")
    if reads == "texts":
        texts: list[str] = []
        for given in inputs:
            texts += _texts_of(given, predictor.note)
        return texts, Watched(texts, "reading texts")
    tables = [(given, *_cells(Path(given).expanduser())) for given in inputs]
    first = tables[0][1]
    for given, header, _, _ in tables:
        if header != first:
            raise ValueError(f"{given} has other columns than {tables[0][0]}: ask for each by itself")
    sources = [f"{given}, line {line}" for given, _, lines, _ in tables for line in lines]
    return sources, _columns(first, [row for _, _, _, cells in tables for row in cells])


@contextmanager
def placed(sources: Sequence[str]) -> Iterator[None]:
    """Within, a cell that its column can't hold is named by the place its row came from."""
    try:
        yield
    except CellError as error:
        raise ValueError(error.at(sources[error.row], "--categories")) from None


def _columns_read(encoder: Encoder, rows: Columns) -> list[dict[str, Any]]:
    """How each column of a table was read, JSON-ready; among categories, how many cells look like numbers."""
    columns, state = [], encoder.state
    for name, cells in rows.items():
        filled = [cell.strip() for cell in cells if cell.strip().lower() not in GAPS]
        read = "numbers" if state[name]["kind"] == "number" else "categories"
        columns.append(
            {
                "name": name,
                "read_as": read,
                "gaps": len(cells) - len(filled),
                "values": len(set(filled)),
                "numbers": sum(parse_number(cell) is not None for cell in filled),
            }
        )
    return columns


def _column_lines(columns: Sequence[dict[str, Any]]) -> list[str]:
    """The same as lines."""
    width = max((len(column["name"]) for column in columns), default=0)
    lines = ["columns:"] if columns else []
    for column in columns[:_SHOWN]:
        words = column["read_as"] == "categories"
        parts = [f"categories ({column['values']} values)" if words else "numbers"]
        parts += [f"{column['gaps']} gap{'s' if column['gaps'] > 1 else ''}"] if column["gaps"] else []
        parts += [f"numbers in {column['numbers']} cells"] if words and column["numbers"] else []
        lines.append(f"  {column['name']:{width}}  {', '.join(parts)}")
    return lines + ([f"  and {len(columns) - _SHOWN:,} more (--json has all)"] if len(columns) > _SHOWN else [])


def _texts_of(given: str, column: str) -> list[str]:
    """The texts of a CSV file's column, the lines of a text file, or the words themselves."""
    path = Path(given).expanduser()
    suffix = path.suffix.lower()
    if suffix == ".txt" or is_stream(path):
        return _lines(path)
    if suffix != ".csv":
        return [given]
    header, _, cells = _cells(path)
    if column not in header:
        raise ValueError(
            f"{path} has no column {column!r}, in which the texts were: its columns are {', '.join(header)}"
        )
    return [row[header.index(column)] for row in cells]


def _lines(path: Path) -> list[str]:
    try:
        lines = io.TextIOWrapper(io.BytesIO(read(path, streams=True)), "utf-8-sig")
        texts = [text for line in islice(lines, MOST_TEXTS + 1) for one in line.splitlines() if (text := one.strip())]
    except OSError as problem:
        raise ValueError(f"{path} can't be read ({problem.strerror}): give a file with one text a line") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} can't be read as text in UTF-8: give a file with one text a line") from None
    if len(texts) > MOST_TEXTS:
        raise ValueError(f"{path} has more than {MOST_TEXTS:,} lines: give fewer at a time")
    if not texts:
        raise ValueError(f"{path} holds no text: give a file with one text a line")
    return texts


def _pictures(data: Path) -> list[Path]:
    from mapwise.data.images import files_in

    if not data.is_dir():
        raise ValueError(f"{data} is no folder: give a folder of pictures of the class")
    pictures = list(files_in(data))
    if not pictures:
        raise ValueError(f"{data} holds no files: put at least one picture into it")
    return pictures


def as_json(report: HeldOut) -> dict[str, Any]:
    """What a support says of itself, JSON-ready."""
    return {
        "accuracy": report.accuracy,
        "low": report.low,
        "high": report.high,
        "rows": report.rows,
        "balanced": None if report.balanced is None else report.balanced._asdict(),
        "chance": report.chance,
        "optimism": report.optimism,
        "training_share": report.training_share,
        "classes": {name: {"accuracy": share, "rows": rows} for name, (share, rows) in report.classes.items()},
        "more": {more: expected._asdict() for more, expected in report.more.items()},
        "by_coverage": [{"coverage": share, "accuracy": right} for share, right in report.by_coverage],
        "confusions": [{"class": a, "taken_for": b, "share": share} for a, b, share in report.confusions],
        "why": report.why,
    }
