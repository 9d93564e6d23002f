"""Tables: numbers standardised, texts one column a value, and every fault named by line and column."""

from pathlib import Path

import numpy as np
import pytest

from mapwise.data.tables import table
from mapwise.tasks.episodes import Episodes


def written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode(encoding))
    return path


FRUIT = "weight,colour,kind\n10,red,apple\n20,red,apple\n30,green,pear\n50,green,pear\n70,blue,plum\n90,blue,plum\n"


def test_numbers_are_standardised_with_the_training_classes_and_texts_become_columns(tmp_path):
    rows = table(written(tmp_path, FRUIT))
    assert rows.names == ("apple", "pear", "plum") and rows.x.shape == (6, 4) and rows.x.dtype == np.float32
    raw = np.asarray([10, 20, 30, 50, 70, 90.0])
    training = [r for c in rows.splits["train"] for r in range(rows.starts[c], rows.starts[c + 1])]
    expected = (raw - raw[training].mean()) / raw[training].std()
    assert np.allclose(rows.x[:, 0], expected, atol=1e-6)
    assert len(training) < 6  # otherwise the line above could not tell
    assert rows.x[:, 1:].tolist() == [[0, 0, 1]] * 2 + [[0, 1, 0]] * 2 + [[1, 0, 0]] * 2  # blue, green, red
    assert rows.name == "rows.csv"


def test_numbers_far_from_zero_keep_their_differences(tmp_path):
    lines = "".join(f"{1_600_000_000 + i},{'abc'[i % 3]}\n" for i in range(12))
    rows = table(written(tmp_path, "time,kind\n" + lines))
    assert len(np.unique(rows.x)) == 12


def test_a_constant_column_becomes_zeros(tmp_path):
    rows = table(written(tmp_path, "a,b,kind\n5,1,x\n5,2,y\n5,3,z\n5,4,x\n"))
    assert (rows.x[:, 0] == 0).all() and np.isfinite(rows.x).all()


def test_the_label_is_the_column_asked_for_or_known_by_name_or_the_last(tmp_path):
    path = written(tmp_path, "Class,a,b\nu,1,p\nv,2,q\nw,3,q\n")
    assert table(path).names == ("u", "v", "w")
    assert table(path, label="b").names == ("p", "q")
    assert table(written(tmp_path, "a,b\n1,p\n2,q\n")).names == ("p", "q")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_byte_order_marks_are_recognised(tmp_path, delimiter, encoding):
    plain = table(written(tmp_path, FRUIT))
    other = table(written(tmp_path, FRUIT.replace(",", delimiter).replace("\n", "\r\n"), encoding))
    assert other.names == plain.names and (other.x == plain.x).all()


def test_quoted_cells_may_hold_the_delimiter_and_blank_lines_are_passed_over(tmp_path):
    rows = table(written(tmp_path, 'text,kind\n"a, b",x\n\n"c",y\n"a, b",z\n\n'))
    assert rows.x.shape == (3, 2) and rows.x[0].tolist() == rows.x[2].tolist() == [1, 0]


def test_every_row_keeps_its_label(tmp_path):
    rows = table(written(tmp_path, "n,kind\n1,b\n2,a\n3,b\n4,a\n5,c\n"))
    order = np.argsort(rows.x[:, 0])
    labels = np.repeat(rows.names, np.diff(rows.starts))
    assert labels[order].tolist() == ["b", "a", "b", "a", "c"]


@pytest.mark.parametrize("cell", ["", " ", "NA", "nan", "?", "NULL"])
def test_a_missing_cell_is_named_by_line_and_column(tmp_path, cell):
    text = FRUIT.replace("30,green", f"{cell},green")
    with pytest.raises(ValueError, match=r"line 4 of .*rows\.csv has no value in column 'weight'"):
        table(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a,kind\n1,x\n2,x\n", "column 'kind' of .* names only one class, 'x'"),
        ("a,kind\n1,x\n2\n", "line 3 of .* has 1 cells and the header has 2"),
        ("a,kind\n1,x\ninf,y\n", "line 3 of .* has infinity in column 'a'"),
        ("a,kind\n", "no rows below its header"),
        ("", "no rows below its header"),
        ("kind\nx\ny\n", "a single column, 'kind'"),
        ("1,2\n3,4\n5,6\n", "holds numbers and no column names"),
        ("a,a,kind\n1,2,x\n3,4,y\n", "two columns called 'a'"),
        ("name,kind\n" + "".join(f"n{i},{'xy'[i % 2]}\n" for i in range(1200)), "has 1,200 different texts"),
    ],
)
def test_files_that_are_no_table_are_refused_in_a_sentence(tmp_path, text, answer):
    with pytest.raises(ValueError, match=answer) as refused:
        table(written(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_missing_file_a_picture_and_an_unknown_label_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.csv cannot be read"):
        table(tmp_path / "nothing.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    with pytest.raises(ValueError, match="not text in UTF-8"):
        table(tmp_path / "picture.csv")
    with pytest.raises(ValueError, match="no column 'kidn': did you mean 'kind'"):
        table(written(tmp_path, FRUIT), label="kidn")


def test_a_real_table_with_semicolons_and_quotes_gives_tasks(shared_data):
    path = shared_data / "bank-marketing" / "bank-additional.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    rows = table(path)
    assert rows.names == ("no", "yes") and len(rows.x) == 4119
    task = Episodes(rows, ways=2, shots=5, queries=5)(0)
    assert task.support.x.ndim == 3 and bool(task.support.x.isfinite().all())
