"""CoNLL files: a word and its tag on a line, a blank line behind each sentence."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapwise.core.fields import quote
from mapwise.data.annotated.lines import read_lines
from mapwise.data.annotated.texts import AnnotatedText, Span

_TAG = re.compile(r"O|[BIESLU]-(?=\S)(.+)")
_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class ConllFile:
    """The sentences of a file, each one text of its words with a space between them.

    lines:   where each begins in the file, from 1.
    scheme:  "IOB1", "IOB2", "IO", "BIOES" or "BILOU".
    repairs: spans that their tags begin or end against the scheme; they are read as conlleval reads them.
    remarks: sentences a user should see once.
    """

    texts: tuple[AnnotatedText, ...]
    lines: tuple[int, ...]
    scheme: str
    repairs: int
    remarks: tuple[str, ...] = ()


@dataclass
class _Sentence:
    line: int
    words: list[str]
    tags: list[str]


def read_conll(path: Path) -> ConllFile:
    """The sentences of a file whose first column is a word and whose last is its tag.

    Columns are parted by tabs, or by spaces where the first line has no tab. -DOCSTART- lines are skipped, and so are
    comments: lines that begin with # and have no tag.

    Schemes: IOB1 and IOB2 (Tjong Kim Sang, Veenstra, EACL 1999), BIOES, BILOU, or inside and outside alone. Which one
    it is, the tags of the whole file say.

    Raises ValueError for a line with another number of columns or an unknown tag, a file that isn't UTF-8, and one
    without a sentence.
    """
    return file_of_conll(read_lines(path), path)


def file_of_conll(lines: Sequence[str], path: Path) -> ConllFile:
    """The same of lines that were read; path: for errors."""
    sentences, blank = _sentences(lines, path)
    if not sentences:
        raise ValueError(f"{path} has no sentence: give a word and its tag on each line, and a blank line in between")
    scheme = _scheme([sentence.tags for sentence in sentences])
    texts, repairs = [], 0
    for sentence in sentences:
        spans, repaired = _spans(sentence.tags, scheme)
        repairs += repaired
        ends, end = list[int](), -1
        for word in sentence.words:
            end += 1 + len(word)
            ends.append(end)
        texts.append(
            AnnotatedText(
                " ".join(sentence.words),
                tuple(
                    Span(ends[first] - len(sentence.words[first]), ends[last - 1], kind) for first, last, kind in spans
                ),
            )
        )
    remarks = []
    if repairs:
        remarks.append(
            f"{repairs:,} {'span' if repairs == 1 else 'spans'} of {path.name} begin or end against {scheme} and are "
            "read as conlleval reads them"
        )
    if blank:
        remarks.append(f"{blank:,} lines of {path.name} have white space for a word and are left out")
    return ConllFile(tuple(texts), tuple(s.line for s in sentences), scheme, repairs, tuple(remarks))


def looks_like_conll(lines: Sequence[str]) -> bool:
    """Whether most of the first hundred lines with text end with a tag behind a word."""
    first = [line for line in lines[:200] if line.strip() and not line.startswith("#")][:100]
    tagged = [line for line in first if len(cells := line.split()) > 1 and _TAG.fullmatch(cells[-1])]
    return 2 * len(tagged) > len(first)


def _sentences(lines: Sequence[str], path: Path) -> tuple[list[_Sentence], int]:
    """The sentences of a file, and the number of words that are white space."""
    first = next((line for line in lines if line.strip() and not line.startswith(("#", _DOCUMENT))), "")
    tabs = "\t" in first.strip()
    width = len(_cells(first, tabs))
    sentences, blank = list[_Sentence](), 0
    open_sentence: _Sentence | None = None
    for number, line in enumerate(lines, start=1):
        cells = _cells(line, tabs)
        if not line.strip() or cells[0] == _DOCUMENT:
            open_sentence = None
            continue
        if line.startswith("#") and (len(cells) != width or len(cells) < 2 or not _TAG.fullmatch(cells[-1])):
            continue
        if len(cells) < 2:
            raise ValueError(
                f"line {number} of {path} has one column, {quote(cells[0])}: a word and its tag are needed, parted by "
                "a tab or a space"
            )
        if len(cells) != width:
            raise ValueError(
                f"line {number} of {path} has {len(cells)} columns and the first has {width}: give each line a word "
                "first and its tag last, and the same columns in between"
            )
        if not _TAG.fullmatch(cells[-1]):
            raise ValueError(
                f"line {number} of {path} has the tag {quote(cells[-1])}: give O, or B-, I-, E-, S-, L- or U- and a "
                "type, such as B-PER"
            )
        if not cells[0]:
            blank += 1
            continue
        if open_sentence is None:
            open_sentence = _Sentence(number, [], [])
            sentences.append(open_sentence)
        open_sentence.words.append(cells[0])
        open_sentence.tags.append(cells[-1])
    return sentences, blank


def _cells(line: str, tabs: bool) -> list[str]:
    if tabs:
        return [cell.strip() for cell in line.rstrip().split("\t")]
    return [cell.strip() for cell in re.split("[ \t]+", line.strip(" \t"))]


def _scheme(rows: Sequence[Sequence[str]]) -> str:
    """The scheme that the tags of all sentences are written in."""
    letters = {tag[0] for tags in rows for tag in tags}
    if letters & set("LU"):
        return "BILOU"
    if letters & set("ES"):
        return "BIOES"
    if "B" not in letters:
        return "IO"
    counts: Counter[str] = Counter()
    for tags in rows:
        before = "O"
        for tag in tags:
            goes_on = before != "O" and before[2:] == tag[2:]
            counts[f"{tag[0]} goes on" if goes_on else tag[0]] += 1
            before = tag
    # In IOB1 a span begins with B only where it stands right behind one of its type.
    return "IOB1" if counts["I"] > counts["B"] else "IOB2"


def _spans(tags: Sequence[str], scheme: str) -> tuple[list[tuple[int, int, str]], int]:
    """(first word, word after the last, type) of every span as conlleval reads them, and how many were repaired."""
    spans, repaired, first = list[tuple[int, int, str]](), 0, 0
    begins = {"IOB2": "B", "BIOES": "BS", "BILOU": "BU"}.get(scheme, "I")
    ends = {"BIOES": "ES", "BILOU": "LU"}.get(scheme, "BI")
    before, right = "O", True
    for place, tag in enumerate([*tags, "O"]):
        goes_on = before[0] in "BI" and tag[0] in "IEL" and tag[2:] == before[2:]
        if before != "O" and not goes_on:
            spans.append((first, place, before[2:]))
            repaired += not (right and before[0] in ends)
        if tag != "O" and not goes_on:
            first = place
            needed = scheme == "IOB1" and before != "O" and before[2:] == tag[2:]
            right = tag[0] in ("B" if needed else begins)
        before = tag
    return spans, repaired
