"""Pictures as one array: the answers of files and of the estimator, and a refusal for whatever is no such array."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from server_process import begin, card_of, drawings, files, intents, png

import mapwise as mw


def npy(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def headed(header: str, data: bytes = b"", version: bytes = b"\x01\0") -> bytes:
    """A file of NumPy whose header says so, whatever its data hold."""
    size = struct.pack("<H" if version == b"\x01\0" else "<I", len(header) + 1)
    return b"\x93NUMPY" + version + size + header.encode() + b"\n" + data


def array(content: bytes) -> dict:
    return {"files": {"array": ("a.npy", content, "application/octet-stream")}}


def grey(side: int, *kinds: int) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(png(kind, 40 + kind, side)))) for kind in kinds])


def png_of(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def answers(client, id: str, **body) -> list:
    reply = client.post(f"/v1/predictors/{id}/predict", **body)
    assert reply.status_code == 200, reply.text
    return reply.json()["predictions"]


@pytest.mark.parametrize("side", [28, 64])
def test_an_array_is_answered_as_the_files_of_its_pictures_are(client, side):
    id = drawings(client)
    card_of(client, id)
    stack = grey(side, 0, 1, 2)
    expected = answers(client, id, files=files(*map(png_of, stack)))
    forms = [stack, (stack / np.float32(255)).astype(np.float32), stack[:, None], stack[..., None].repeat(3, axis=-1)]
    for form in forms:
        got = answers(client, id, **array(npy(form)))
        for one, other in zip(got, expected, strict=True):
            assert one["label"] == other["label"]
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
            assert one["unknown"] == other["unknown"]


def test_an_array_teaches_as_it_teaches_the_estimator(client):
    id = begin(client, name="marks", modality="pictures")
    stack, labels = grey(40, 0, 1, 2, 0, 1, 2)[:6], ["plus", "cross", "corner"] * 2
    stack[3:] = stack[3:, ::-1]  # turned over, so that none is a copy
    address = f"/v1/predictors/{id}/examples"
    reply = client.post(address, data={"labels": labels}, **array(npy(stack)))
    assert reply.status_code == 201, reply.text
    model = mw.FewShotClassifier("drawings", "logistic").fit(stack, labels)
    card_of(client, id)
    question = grey(28, 0, 2)
    for one, chances in zip(answers(client, id, **array(npy(question))), model.predict_proba(question), strict=True):
        expected = dict(zip(model.classes_, chances, strict=True))
        assert one["probabilities"] == pytest.approx(expected, abs=1e-5)
    again = client.post(address, data={"labels": labels}, **array(npy(stack))).json()
    assert again["duplicates"] == 6 and not again["added"]
    assert client.get(f"{address}/1/preview").content.startswith(b"\x89PNG")


def test_an_encoder_of_pixels_takes_arrays_too(client, tmp_path):
    stack = np.random.default_rng(0).integers(0, 255, (8, 20, 20), dtype=np.uint8)
    model = mw.FewShotClassifier("pixels", "ridge").fit(list(stack), [*"aabbaabb"])
    model.save(tmp_path / "a.safetensors")
    id = client.post("/v1/predictors", files={"file": (tmp_path / "a.safetensors").read_bytes()}).json()["id"]
    got = answers(client, id, **array(npy(stack[:2])))
    expected = model.predict_proba(list(stack[:2]))
    np.testing.assert_allclose([[one["probabilities"][name] for name in "ab"] for one in got], expected, atol=1e-6)


def test_requests_that_run_at_the_same_time_get_the_answers_they_get_alone(client, service):
    id = drawings(client)
    card_of(client, id)
    bodies = [npy(grey(28, *kinds)) for kinds in ((0,), (1, 2), (2, 2, 0), (1,) * 40)]
    alone = [answers(client, id, **array(body)) for body in bodies]
    before = service.encoders.figures["encoder_passes"]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda body: answers(client, id, **array(body)), 12 * bodies))
    assert service.encoders.figures["encoder_passes"] - before < len(together), "no request shared a pass"
    for got, expected in zip(together, 12 * alone, strict=True):
        assert [one["label"] for one in got] == [one["label"] for one in expected]
        for one, other in zip(got, expected, strict=True):
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


SMALL = np.full((2, 28, 28), 200, np.uint8)
GOOD = npy(SMALL)
HOSTILE = {
    "nothing": (b"", 422),
    "another magic": (b"\x93NUMPX" + GOOD[6:], 422),
    "a picture": (png(0), 422),
    "a head alone": (GOOD[:10], 422),
    "half a head": (GOOD[:40], 422),
    "another version": (GOOD[:6] + b"\x03\0" + GOOD[8:], 422),
    "a long header": (headed("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 8, 8)}" + " " * 2000), 422),
    "a header of a gigabyte": (b"\x93NUMPY\x02\0\xff\xff\xff\x3f" + bytes(100), 422),
    "a header of nested brackets": (headed("(" * 900), 422),
    "a header that is code": (headed("__import__('os').system('true')"), 422),
    "a header of other keys": (headed("{'shape': (1, 8, 8)}"), 422),
    "pickled objects": (npy(np.array([[[{}]]], dtype=object), allow_pickle=True), 422),
    "texts": (npy(np.full((1, 2, 2), "a")), 422),
    "named fields": (npy(np.zeros((1, 2, 2), [("a", "u1")])), 422),
    "complex numbers": (npy(np.zeros((1, 2, 2), np.complex64)), 422),
    "other floats": (npy(np.zeros((1, 28, 28))), 422),
    "big endian": (npy(SMALL.astype(">f4")), 422),
    "column by column": (npy(np.asfortranarray(SMALL)), 422),
    "one picture": (npy(SMALL[0]), 422),
    "five axes": (npy(SMALL[None, None]), 422),
    "two channels": (npy(np.zeros((1, 8, 8, 2), np.uint8)), 422),
    "no rows": (npy(SMALL[:0]), 422),
    "no pixels": (npy(SMALL[:, :0]), 422),
    "fewer rows than none": (headed("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8)}", bytes(64)), 422),
    "a row of truth": (headed("{'descr': '|u1', 'fortran_order': False, 'shape': (True, 8, 8)}", bytes(64)), 422),
    "a shape beyond memory": (headed("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8000, 3000)}"), 422),
    "a shape beyond 64 bits": (headed(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**70}, 8, 8)}}"), 422),
    "a side beyond its limit": (npy(np.zeros((1, 1, 9000), np.uint8)), 413),
    "too many pixels": (npy(np.zeros((1, 5000, 5000), np.uint8)), 413),
    "too many rows": (npy(np.zeros((513, 8, 8), np.uint8)), 413),
    "cut short": (GOOD[:-1], 422),
    "more than it says": (GOOD + b"\0", 422),
    "NaN": (npy(np.full((1, 28, 28), np.nan, np.float32)), 422),
    "infinity": (npy(np.full((1, 28, 28), np.inf, np.float32)), 422),
    "below 0": (npy(np.full((1, 28, 28), -1, np.float32)), 422),
    "beyond 255": (npy(np.full((1, 28, 28), 256, np.float32)), 422),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_each_hostile_array_is_refused(client, name):
    content, status = HOSTILE[name]
    id = drawings(client)
    replies = [client.post(f"/v1/predictors/{id}/{route}", **array(content)) for route in ("predict", "explain")]
    replies.append(client.post(f"/v1/predictors/{id}/examples", data={"labels": "x"}, **array(content)))
    for reply in replies:
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
    assert client.get(f"/v1/predictors/{id}").json()["examples"] == 9


def test_an_array_comes_alone_as_a_file_and_where_pictures_are_read(client):
    id = drawings(client)
    address = f"/v1/predictors/{id}/predict"
    for body, words in (
        ({"files": [*files(png(0)), ("array", ("a.npy", GOOD))]}, "an array and further files"),
        ({"files": [("array", ("a.npy", GOOD))] * 2}, "an array and further files"),
        ({"files": {"pictures": ("a.npy", GOOD)}}, "in the field 'pictures'"),
        ({"data": {"array": "1, 2"}, "files": files(png(0))}, "'array' of the form is no file"),
    ):
        reply = client.post(address, **body)
        assert reply.status_code == 422 and words in reply.json()["detail"], reply.text
    reply = client.post(f"/v1/predictors/{intents(client)}/predict", **array(GOOD))
    assert reply.status_code == 415


def test_a_row_that_is_no_picture_is_named(client):
    id = drawings(client)
    stack = SMALL.astype(np.float32)
    stack[1, 3, 3] = np.nan
    reply = client.post(f"/v1/predictors/{id}/predict", **array(npy(stack)))
    assert "the picture of row 1 holds NaN" in reply.json()["detail"]
