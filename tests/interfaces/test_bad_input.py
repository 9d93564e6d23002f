"""Bad input: one line that says what is wrong, the right exit code, no traceback, and every file as it was."""

import os
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mapwise as mw
from mapwise.interfaces.progress import Bar

TINY = ("--steps", "4", "--validation-episodes", "8", "--tasks", "2")
FEW = ("--ways", "2", "--shots", "1", "--queries", "1", "--net", "mlp", *TINY)


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {path: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.fixture
def refused(cli):
    """Run a command that must fail: its one line, after everything else was checked."""

    def run(*words, code=1):
        before = contents(".")
        ended, out, err = cli(*words)
        assert (ended, out) == (code, ""), err
        assert err.startswith("mapwise: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        assert contents(".") == before
        return err

    return run


@pytest.fixture
def photos(tmp_path):
    """Ten classes of three small images of mixed sizes and modes."""
    from PIL import Image

    modes = ("RGB", "L", "RGBA", "P", "1", "I;16", "CMYK", "LA")
    random = np.random.default_rng(0)
    for c in range(10):
        folder = tmp_path / "photos" / f"class{c}"
        folder.mkdir(parents=True)
        for i in range(3):
            mode = modes[(3 * c + i) % len(modes)]
            size = (18 + c, 18 + 4 * i)
            kind = "tif" if mode in ("I;16", "CMYK") else "png"
            shades = random.integers(0, 255, size, dtype=np.uint8)
            image = (
                Image.fromarray(shades.astype(np.uint16) * 200)
                if mode == "I;16"
                else Image.fromarray(shades).convert(mode)
            )
            image.save(folder / f"{i}.{kind}")
    return tmp_path / "photos"


@pytest.fixture
def run(cli):
    """A finished run in the folder "run"."""
    code, _, err = cli("train", "protonet", "digits", "--out", "run", *TINY)
    assert code == 0, err
    return Path("run")


def test_a_class_with_too_few_rows_is_named(refused):
    answer = refused("train", "protonet", "digits", "--shots", "175", "--queries", "5", *TINY)
    assert "class '" in answer
    assert "175 shots + 5 queries need 180" in answer


def test_more_ways_than_classes_says_how_many_there_are(refused):
    answer = refused("train", "protonet", "digits", "--ways", "9", *TINY)
    assert "ways is 9" in answer
    assert "4 classes" in answer


def test_eval_of_a_run_with_more_ways_than_unseen_classes_is_refused(refused, run):
    assert "3 classes" in refused("eval", run, "--ways", "4")


def test_an_empty_folder_is_refused(refused):
    Path("empty").mkdir()
    assert "empty is empty" in refused("train", "protonet", "empty", *FEW)


def test_images_of_mixed_sizes_and_modes_are_read(cli, photos):
    code, _, err = cli("train", "protonet", photos, *FEW)
    assert code == 0, err
    assert cli("eval", "runs/protonet-photos", "--episodes", "4", "--json")[0] == 0


@pytest.mark.parametrize("fault", ["truncated", "no image", "empty file"])
def test_a_file_that_is_no_image_is_named_and_skipped_only_on_request(cli, refused, photos, fault):
    bad = photos / "class3" / "0.png"
    if fault == "truncated":
        from PIL import Image

        Image.effect_noise((60, 60), 50).save(bad)
        bad.write_bytes(bad.read_bytes()[:600])
    else:
        bad.write_bytes(b"hello" if fault == "no image" else b"")
    answer = refused("train", "protonet", photos, *FEW)
    assert str(bad) in answer
    assert "--skip-bad" in answer
    before = contents(photos)
    code, _, err = cli("train", "protonet", photos, "--skip-bad", *FEW)
    assert code == 0, err
    assert "class3/0.png" in err
    assert contents(photos) == before


def csv(text):
    path = Path("table.csv")
    path.write_text(text)
    return path


@pytest.mark.parametrize("cell", ["", "NA", "nan"])
def test_a_table_with_a_missing_cell_names_line_and_column(refused, cell):
    answer = refused("train", "protonet", csv(f"width,height,label\n1,2,a\n3,{cell},b\n"), *FEW)
    assert "line 3" in answer
    assert "'height'" in answer


def test_a_table_of_one_class_is_refused(refused):
    assert "only one class" in refused("train", "protonet", csv("width,label\n1,a\n2,a\n"), *FEW)


def test_a_table_with_infinity_is_refused(refused):
    assert "infinity" in refused("train", "protonet", csv("width,label\n1,a\ninf,b\n"), *FEW)


def test_a_table_without_the_label_column_names_the_nearest(refused):
    answer = refused("train", "protonet", csv("width,kind\n1,a\n2,b\n"), "--label", "kid", *FEW)
    assert "did you mean 'kind'" in answer


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_arrays_are_refused_with_their_row(bad):
    x = np.zeros((4, 2))
    x[2, 1] = bad
    for make in (lambda: mw.examples(x, [0, 0, 1, 1]), lambda: mw.LabelledRows.of(x, [0, 0, 1, 1])):
        with pytest.raises(ValueError, match=r"NaN or infinity.* row 2") as refused:
            make()
        assert "\n" not in str(refused.value)


def test_labels_that_do_not_align_are_refused():
    x = np.zeros((4, 2))
    for make in (lambda: mw.examples(x, [0, 0, 1]), lambda: mw.LabelledRows.of(x, [0, 0, 1])):
        with pytest.raises(ValueError, match=r"4 rows and (there are )?3 labels") as refused:
            make()
        assert "\n" not in str(refused.value)


def test_a_module_that_updates_running_statistics_is_refused():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    for make in (lambda: mw.ProtoNet(encoder=net), lambda: mw.MAML(net=net)):
        with pytest.raises(ValueError, match=r"layer '1' \(BatchNorm1d\) updates running statistics") as refused:
            make()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("train", "mmal", "digits"), "did you mean 'maml'"),
        (("list", "protnet"), "did you mean 'protonet'"),
        (("train", "maml", "digit"), "did you mean 'digits'"),
        (("train", "maml", "no/such/folder"), "no/such/folder"),
        (
            ("train", "maml", "digits", "--inner-lrr", "0.1"),
            "there is no flag --inner-lrr: did you mean --inner-lr?",
        ),
        (("train", "maml", "digits", "--step", "5"), "there is no flag --step: did you mean --steps?"),
        (("train", "maml", "digits", "--inner-lr", "fast"), "--inner-lr is 'fast'"),
        (("train", "protonet", "digits", "--inner-lr", "1"), "protonet has no setting 'inner_lr'"),
        (("train", "maml", "digits", "--net.nrm", "batch"), "did you mean --net.norm"),
        (("train", "maml", "digits", "--net.norm", "bach"), "--net.norm is 'bach'"),
        (("train", "maml", "digits", "--net", "cnn4"), "did you mean 'conv4'"),
        (("train", "maml", "digits", "--steps", "many"), "--steps"),
        (("train", "maml", "digits", "--steps", "-3"), "steps is -3: give 0 or more"),
        (("train", "maml", "digits", "--ways", "five"), "--ways is 'five'"),
        (("train", "maml", "digits", "--optimizer", "Adamm"), "did you mean 'Adam"),
        (("train", "maml", "digits", "--optimizer", "Adam rate=1"), "torch refuses"),
        (("train", "maml", "digits", "--schedule", "cosin"), "schedule"),
        (("train", "maml", "digits", "--warmup", "-1"), "warmup is -1"),
        (("train", "maml", "digits", "--warmup", "1000"), "warmup is 1000 and steps is 1000"),
        (("train", "maml", "digits", "--aggregate", "median"), "aggregate"),
        (("train", "maml", "digits", "--augment", "shake"), "augmentation 'shake'"),
        (("train", "maml", "digits", "--how", "fast"), "how is 'fast'"),
        (("train", "maml", "digits", "--device", "quantum"), "device 'quantum'"),
        (("train", "maml"), "mapwise train LEARNER SOURCE"),
        (("train", "--resume", "run", "--steps", "5"), "leave steps out"),
        (("eval",), "RUN"),
        (("evaluate", "run"), "evaluate"),
        (("eval", "run", "--split", "tset"), "--split"),
        (("eval", "run", "--episodes", "0"), "--episodes"),
    ],
)
def test_wrong_use_is_told_in_one_line_with_the_nearest_name(refused, words, answer):
    assert answer in refused(*words, code=2)


def test_a_folder_that_is_no_run_is_refused(refused):
    assert "is not a run" in refused("eval", "nowhere")
    assert "is not a run" in refused("report", "nowhere")
    assert "is not a run" in refused("compare", "nowhere", "nowhere")
    assert "is not a run" in refused("train", "--resume", "nowhere")
    assert "is not a run" in refused("train", "maml", "digits", "--init", "nowhere", *TINY)


def test_a_run_of_another_version_is_refused(refused, run):
    path = run / "run.toml"
    path.write_text(path.read_text().replace("schema_version = 1", "schema_version = 99"))
    assert "schema version 99" in refused("eval", run)
    assert "schema version 99" in refused("train", "--resume", run)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("run.toml", lambda data: data[: len(data) // 2 - 3] + b'"'),
        ("run.toml", lambda data: data + b"surprise = 1\n"),
        ("run.toml", lambda data: b"\xff\xfe"),
        ("best.safetensors", lambda data: data[:-10]),
        ("best.safetensors", lambda data: b""),
        ("best.safetensors", lambda data: b"x" * len(data)),
    ],
)
def test_a_damaged_run_is_refused_by_the_name_of_its_file(refused, run, name, damage):
    path = run / name
    path.write_bytes(damage(path.read_bytes()))
    assert name in refused("eval", run)


def test_a_run_without_its_best_says_how_to_finish_it(refused, run):
    (run / "best.safetensors").unlink()
    assert f"mapwise train --resume {run}" in refused("eval", run)


def test_a_truncated_last_checkpoint_is_refused(refused, run):
    path = run / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert "last.safetensors" in refused("train", "--resume", run)


def test_a_run_is_never_overwritten(refused, run):
    answer = refused("train", "protonet", "digits", "--out", run, *TINY)
    assert f"--resume {run}" in answer


def test_a_run_that_only_lost_its_checkpoints_begins_again(cli, run):
    before = (run / "best.safetensors").read_bytes()
    for name in ("last.safetensors", "best.safetensors", "metrics.jsonl"):
        (run / name).unlink()
    code, _, err = cli("train", "--resume", run)
    assert code == 0, err
    assert (run / "best.safetensors").read_bytes() == before


def test_weights_of_another_net_do_not_start_a_run(refused, run):
    answer = refused("train", "protonet", "digits", "--init", run, "--net.hidden", "7,5,3", *TINY)
    assert "no weight of" in answer


def test_a_change_that_the_weights_do_not_fit_is_refused(refused, run):
    assert "don't fit" in refused("eval", run, "--net.hidden", "7")


def test_a_head_refuses_more_ways_than_it_has_columns(cli, refused):
    assert cli("train", "maml", "digits", "--ways", "2", "--out", "run", *TINY)[0] == 0
    assert "2 columns" in refused("eval", "run", "--ways", "3", "--episodes", "4", "--no-baselines")


def test_runs_on_different_tasks_are_not_compared(cli, refused, run):
    assert cli("train", "protonet", "digits", "--shots", "2", "--out", "other", *TINY)[0] == 0
    assert "shots differ" in refused("compare", run, "other", "--episodes", "4")


def test_a_test_source_of_another_shape_is_refused(refused):
    answer = refused("train", "protonet", "digits", "--test-source", csv(ROWS), *FEW)
    assert "another" in answer or "shape" in answer


ROWS = "width,height,label\n" + "".join(f"{i},{i * i},c{i % 10}\n" for i in range(40))


def test_a_loss_that_is_no_number_ends_the_run_with_advice(cli):
    code, out, err = cli("train", "maml", "sinusoid", "--inner-lr", "1e30", "--shots", "5", *TINY)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "lower the learning rate" in err


def test_a_folder_that_cannot_be_made_is_refused(refused):
    Path("file").write_text("here")
    answer = refused("train", "protonet", "digits", "--out", "file/run", *TINY)
    assert "file" in answer


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(refused):
    Path("locked").mkdir(mode=0o555)
    assert "Permission denied" in refused("train", "protonet", "digits", "--out", "locked/run", *TINY)


@contextmanager
def nearly_full_disk(size):
    """No file may grow beyond so many bytes: a write fails as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_a_full_disk_leaves_the_previous_checkpoint_whole(cli, monkeypatch):
    words = ("train", "protonet", "digits", "--steps", "6", "--validate-every", "2", "--validation-episodes", "8")
    words += ("--how", "vmap")  # measured anew, another way might win, and another way is another run

    def stop(bar, progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    assert cli(*words, "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(Bar, "__call__", stop)
        assert cli(*words, "--out", "run")[0] == 130
    run = Path("run")
    before = contents(run)
    with nearly_full_disk(8_000):
        code, out, err = cli("train", "--resume", "run")
    assert (code, out) == (1, "")
    assert err.startswith("mapwise: run")
    assert err.count("\n") == 1
    after = contents(run)
    metrics = run / "metrics.jsonl"
    # Records after the last checkpoint may have been added; they are cut off when the run goes on.
    assert after.pop(metrics).startswith(before.pop(metrics))
    assert after == before
    assert cli("train", "--resume", "run")[0] == 0
    for name in ("last.safetensors", "best.safetensors"):
        assert (run / name).read_bytes() == (Path("whole") / name).read_bytes()


def test_a_full_disk_at_the_start_is_one_line(cli):
    with nearly_full_disk(100):
        code, out, err = cli("train", "protonet", "digits", "--out", "run", *TINY)
    assert (code, out) == (1, "")
    assert err.startswith("mapwise: run")
    assert err.count("\n") == 1


def test_a_device_that_is_not_there_is_refused(refused):
    if torch.cuda.is_available():
        pytest.skip("this machine has a cuda device")
    assert "cuda" in refused("train", "protonet", "digits", "--device", "cuda", *TINY, code=2)
