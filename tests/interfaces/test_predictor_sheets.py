"""CSV tables from the commands on predictors: the user's columns, and what a predictor says behind them."""

import csv
import io

from test_answers import CSV


def test_a_sheet_of_answers_keeps_the_columns_of_a_csv_file(cli, tmp_path):
    (tmp_path / "train.csv").write_text(CSV, encoding="utf-8")
    cli("fit", "train.csv", "--text", "body", "--label", "intent", "-o", "intents.safetensors")
    (tmp_path / "new.csv").write_text('id,body,label\n1,"my refund, now\tplease",x\n2,=cancel,\n')
    sheet = list(csv.reader(io.StringIO(cli("predict", "intents.safetensors", "new.csv", "--csv").out)))
    assert sheet[0] == ["id", "body", "label", "predicted_label", "probability", "unknown"]
    assert [row[:4] for row in sheet[1:]] == [
        ["1", "my refund, now\tplease", "x", "refund"],
        ["2", "=cancel", "", "cancel"],
    ]
    twice = cli("predict", "intents.safetensors", "new.csv", "new.csv", "--csv").out.splitlines()
    assert len(twice) == 5 and twice[0].startswith("id,body,label,")
    mixed = cli("predict", "intents.safetensors", "new.csv", "cancel", "--csv").out.splitlines()
    assert mixed[0] == "input,label,probability,unknown" and len(mixed) == 4


def test_a_sheet_of_answers_about_a_table_keeps_its_columns(cli, tmp_path):
    (tmp_path / "train.csv").write_text("size,colour,kind\n1,red,a\n2,red,a\n3,red,a\n9,blue,b\n8,blue,b\n9,blue,b\n")
    cli("fit", "train.csv", "--label", "kind", "-o", "rows.safetensors", "--learner", "ridge")
    (tmp_path / "new.csv").write_text("id,colour,size\nx7,blue,7\nx8,red,2\n")
    sheet = cli("predict", "rows.safetensors", "new.csv", "--csv", "--refuse", "0").out.splitlines()
    assert sheet[0] == "id,colour,size,label,probability,unknown"
    assert [line.split(",")[:4] for line in sheet[1:]] == [["x7", "blue", "7", "b"], ["x8", "red", "2", "a"]]
