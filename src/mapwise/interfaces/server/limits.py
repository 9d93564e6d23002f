"""Bounds on what a server takes: each holds before anything is decoded, and each has an answer of its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what a server takes.

    body:         bytes of a request's body.
    body_seconds: that a body may take to arrive.
    rows:         examples, or rows to be answered, in a request.
    text:         letters of a text.
    letters:      of all texts of a request.
    side, pixels: of a picture: the longer side, and width x height.
    columns:      of a table's row.
    cell:         letters of a table's cell.
    cells:        of all rows of a request.
    classes:      of a predictor.
    name:         letters of the name of a class, a predictor or a column.
    examples:     of a predictor.
    predictors:   in the folder.
    residents:    predictors held in memory; the others are read when they are needed.
    folder:       bytes of the folder.
    history:      versions of a predictor that can be returned to.
    requests:     that are answered at a time; one more is refused with 429.
    fits:         learners that are chosen, or files that are opened, at a time.
    fit_seconds:  that choosing a learner may take, or opening a file.
    report_seconds: that a cross-validation may take.
    decode_seconds: that decoding the pictures of a request may take.
    decode_memory:  bytes that a process which decodes may hold.
    fit_memory:     bytes that a process which chooses a learner may hold.
    batch:        rows that are encoded together.
    reply_seconds: for which the answer to an idempotency key is kept.
    """

    body: int = 32 << 20
    body_seconds: float = 30.0
    rows: int = 512
    text: int = 20_000
    letters: int = 1_000_000
    side: int = 8_192
    pixels: int = 24_000_000
    columns: int = 1_000
    cell: int = 2_000
    cells: int = 100_000
    classes: int = 1_000
    name: int = 200
    examples: int = 20_000
    predictors: int = 10_000
    residents: int = 2_000
    folder: int = 20 << 30
    history: int = 20
    requests: int = 256
    fits: int = 2
    fit_seconds: float = 60.0
    report_seconds: float = 20.0
    decode_seconds: float = 10.0
    decode_memory: int = 1 << 30
    fit_memory: int = 4 << 30
    batch: int = 32
    reply_seconds: float = 86_400.0
