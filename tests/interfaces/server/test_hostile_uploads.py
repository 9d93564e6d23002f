"""Sixty hostile uploads: each gets its refusal within a second, and memory stays bounded."""

import io
import json
import resource
import struct
import time
import zlib

import numpy as np
import pytest
from server_process import begin, drawings, png


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 0, *more: bytes) -> bytes:
    """A PNG whose header says so, whatever its data hold."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(kind: str, size=(32, 32), **options) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", size, "white").save(file, kind, **options)
    return file.getvalue()


def uploads() -> dict[str, bytes]:
    """Pictures that are none, or would do harm."""
    blank = zlib.compress(bytes(1 + 9000) * 9000)
    jpeg, gif, webp = saved("JPEG"), saved("GIF"), saved("WEBP")
    good = png(0)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
    wide = bytearray(jpeg)
    place = wide.index(b"\xff\xc0")
    wide[place + 5 : place + 9] = struct.pack(">HH", 65_000, 65_000)
    cases = {
        "nothing": b"",
        "a zero": b"\0",
        "text": b"hello",
        "a header alone": good[:8],
        "half a png": good[: len(good) // 2],
        "a png without its end": good[:-30],
        "half a jpeg": jpeg[: len(jpeg) // 2],
        "half a gif": gif[:20],
        "half a webp": webp[:30],
        "50,000 x 50,000": png_of(50_000, 50_000, zlib.compress(b"\0" * 100)),
        "a bomb of 81 million pixels": png_of(9000, 9000, blank),
        "30 million pixels that are whole": saved("PNG", (5000, 6000)),
        "a strip": png_of(1, 2**31 - 1),
        "a wide strip": png_of(2**31 - 1, 1),
        "0 x 0": png_of(0, 0),
        "0 x 10": png_of(0, 10),
        "odd depth": png_of(8, 8, b"", 3),
        "odd colour": png_of(8, 8, b"", 8, 9),
        "data of another length": png_of(64, 64, zlib.compress(b"abc")),
        "data that is no zlib": png_of(64, 64, b"no zlib at all"),
        "a wrong checksum": good[:40] + bytes([good[40] ^ 1]) + good[41:],
        "a text chunk that unpacks to gigabytes": png_of(
            *(8, 8, zlib.compress(bytes(72)), 8, 0, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26))))
        ),
        "a colour profile that unpacks to gigabytes": png_of(
            *(9000, 9000, b"", 8, 0, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 26))))
        ),
        "a jpeg of 65,000 x 65,000": bytes(wide),
        "a jpeg of markers": b"\xff\xd8" + b"\xff\xe1\xff\xff" * 1000,
        "a gif of 65,535 x 65,535": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + gif[10:],
        "a bmp of a negative size": b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 54)
        + struct.pack("<Iii", 40, -5, -5)
        + bytes(28),
        "a bmp of 2 billion pixels": b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 2**30, 2, 1, 24, 0, 0, 0, 0, 0, 0),
        "svg": svg,
        "svg with a doctype": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "b">]>' + svg,
        "html": b"<!doctype html><script>alert(1)</script>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\n",
        "tiff": saved("TIFF"),
        "ico": saved("ICO"),
        "ppm": saved("PPM"),
        "tga": saved("TGA"),
        "icns": b"icns\0\0\0\x08",
        "psd": b"8BPS\0\x01" + bytes(20),
        "an mp4": b"\0\0\0\x18ftypmp42" + bytes(50),
        "a zip": b"PK\x03\x04" + bytes(60),
        "a gzip bomb": zlib.compress(bytes(1 << 26), wbits=31),
        "an executable": b"\x7fELF" + bytes(200),
        "a class file": b"\xca\xfe\xba\xbe" + bytes(40),
        "a pickle": b"\x80\x04cos\nsystem\n(S'id'\ntR.",
        "numpy": b"\x93NUMPY" + bytes(80),
        "a path": b"/etc/passwd",
        "a file address": b"file:///etc/passwd",
        "a data address": b"data:image/png;base64,iVBORw0KGgo=",
        "utf-16": "hello".encode("utf-16"),
        "a million quotes": b"'" * 1_000_000,
        "a terminal's orders": b"\x1b]0;title\x07" * 50,
        "noise": np.random.default_rng(0).bytes(20_000),
        "noise with a png's head": b"\x89PNG\r\n\x1a\n" + np.random.default_rng(1).bytes(5_000),
        "noise with a jpeg's head": b"\xff\xd8\xff\xe0" + np.random.default_rng(2).bytes(5_000),
        "noise with a webp's head": b"RIFF\xff\xff\0\0WEBPVP8L" + np.random.default_rng(3).bytes(5_000),
        "a webp of 16,383 x 16,383": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f" + bytes(8),
        "a polyglot of gif and script": b"GIF89a/*" + b"*/=1;alert(1)//",
        "a polyglot of png and html": b"\x89PNG\r\n\x1a\n<script>alert(1)</script>",
        "a length beyond the file": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR",
        "a png of many text chunks": b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"a\0b") * 20_000,
    }
    assert len(cases) >= 60, len(cases)
    return cases


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def peak_of(pid: int) -> int:
    """The most memory that a process has held, in KiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def test_each_hostile_picture_is_refused_within_a_second(client, service):
    id = drawings(client)
    before = resident()
    for name, content in uploads().items():
        for address, data in ((f"/v1/predictors/{id}/predict", {}), (f"/v1/predictors/{id}/examples", {"labels": "x"})):
            start = time.perf_counter()
            reply = client.post(address, files={"files": ("../<b>name</b>.png", content, "image/png")}, data=data)
            seconds = time.perf_counter() - start
            assert reply.status_code in (413, 422), (name, reply.text)
            assert seconds < 1, (name, seconds)
            assert reply.headers["content-type"] == "application/problem+json"
            assert "<b>" not in reply.text and str(service.store.folder) not in reply.text, (name, reply.text)
    assert resident() - before < 200 << 10
    workers = [worker.process.pid for worker in service.decoders._all]
    assert workers and max(map(peak_of, workers)) < 600 << 10
    reply = client.post(f"/v1/predictors/{id}/predict", files={"files": png(0)})
    assert reply.status_code == 200
    assert client.get(f"/v1/predictors/{id}").json()["examples"] == 9


BODIES = {
    "no json": (b"{", 400),
    "an empty body": (b"", 400),
    "nested lists": (b"[" * 100_000, 400),
    "nested objects": (b'{"texts":' * 50_000, 400),
    "a list": (b"[]", 422),
    "null": (b"null", 422),
    "a number of a text": (b'{"texts": [1]}', 422),
    "no rows": (b'{"texts": []}', 422),
    "both": (b'{"texts": ["a"], "rows": [{"a": 1}]}', 422),
    "another field": (b'{"texts": ["a"], "path": "/etc/passwd"}', 422),
    "a half of a letter": (b'{"texts": ["\\ud800"]}', 400),
    "latin-1": (b'{"texts": ["\xe4"]}', 400),
    "empty texts": (b'{"texts": [" "]}', 422),
    "a long text": (json.dumps({"texts": ["a" * 20_001]}).encode(), 413),
    "many rows": (json.dumps({"texts": ["a"] * 513}).encode(), 413),
    "many letters": (json.dumps({"texts": ["a" * 19_999] * 60}).encode(), 413),
    "rows of a table": (b'{"rows": [{"a": 1}]}', 422),
}


@pytest.mark.parametrize("name", BODIES)
def test_each_hostile_json_is_refused(client, name):
    content, status = BODIES[name]
    id = begin(client, name="a", modality="texts", classes=["cancel order", "refund money"])
    reply = client.post(f"/v1/predictors/{id}/predict", content=content, headers={"content-type": "application/json"})
    assert reply.status_code == status, reply.text


@pytest.mark.parametrize(
    ("rows", "status", "words"),
    [
        ([{"a": 10**400}], 422, "infinity"),
        ([{"a": "\0"}], 422, "NUL"),
        ([{}], 422, "0 columns"),
        ([{str(place): 1 for place in range(1001)}], 422, "1,001 columns"),
        ([{"a" * 201: 1}], 422, "letters"),
        ([{"a": "b" * 2001}], 413, "letters"),
    ],
)
def test_each_hostile_row_is_refused(client, rows, status, words):
    id = begin(client, name="a", modality="table")
    reply = client.post(f"/v1/predictors/{id}/examples", json={"rows": rows, "labels": ["x"]})
    assert reply.status_code == status and words in reply.json()["detail"], reply.text


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31mred", "\u202eabc", "a" * 201, "\0"])
def test_a_name_that_would_break_a_line_is_refused(client, name):
    id = begin(client, name="a", modality="texts")
    assert client.post("/v1/predictors", json={"name": name, "modality": "texts"}).status_code == 422
    assert client.post(f"/v1/predictors/{id}/classes", json={"name": name}).status_code == 422
    labelled = {"texts": ["a b"], "labels": [name]}
    assert client.post(f"/v1/predictors/{id}/examples", json=labelled).status_code == 422


@pytest.mark.parametrize(
    "encoder", ["hf:../../etc", "hf:a/b", "/etc/passwd", "os:system", "../words", "nothing", "pixels"]
)
def test_an_encoder_of_no_catalog_is_refused(client, encoder):
    reply = client.post("/v1/predictors", json={"name": "a", "modality": "texts", "encoder": encoder})
    assert reply.status_code == 422, reply.text


def test_forms_that_are_none_are_refused(client):
    id = drawings(client)
    address = f"/v1/predictors/{id}/predict"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    for content in (
        b"",
        b"--x",
        b"--x\r\n\r\n",
        b"--y\r\n",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--\r\n",
    ):
        reply = client.post(address, content=content, headers=kind)
        assert reply.status_code in (400, 422), (content, reply.text)
    reply = client.post(address, content=b"abc", headers={"content-type": "multipart/form-data"})
    assert reply.status_code == 400
    assert client.post(address, content=b"<a/>", headers={"content-type": "text/xml"}).status_code == 415
    assert client.post(address, json={"texts": ["a"]}).status_code == 422
    many = [("files", png(0))] * 513
    assert client.post(address, files=many).status_code == 413


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plus 2.png", "the picture plus 2.png (row 1) is no picture"),
        ("kinds/\u52a0.png", "the picture \u52a0.png (row 1) is no picture"),
        (r"C:\kinds\a.png", "the picture a.png (row 1) is no picture"),
        ("<b>.png", "the picture of row 1 is no picture"),
        ("a\u202eb.png", "the picture of row 1 is no picture"),
    ],
)
def test_a_file_that_is_no_picture_is_called_by_its_name(client, name, words):
    parts = [("files", ("a.png", png(0))), ("files", (name, b"text"))]
    reply = client.post(f"/v1/predictors/{drawings(client)}/predict", files=parts)
    assert reply.status_code == 422 and reply.json()["detail"].startswith(words), reply.text


def test_a_form_without_a_predictor_says_which_field_is_missing(client):
    for body, words in (
        ({"files": {"predictor": b"x"}}, "a file is in the field 'predictor' of the form: send it in `file`"),
        ({"files": {"name": (None, "a")}}, "the field `file` of the form is missing"),
        ({"files": {"file": (None, "x")}}, "the field 'file' of the form is no file"),
    ):
        reply = client.post("/v1/predictors", **body)
        assert reply.status_code == 422 and words in reply.json()["detail"], reply.text


def test_a_form_is_cut_at_its_boundary_alone(client):
    id = begin(client, name="a", modality="pictures")
    tricky = png(0) + b"\r\n--x-\r\nContent-Disposition: form-data; name=labels\r\n\r\nother\r\n"
    address = f"/v1/predictors/{id}/examples"
    reply = client.post(address, files=[("files", ('a";x=y.png', tricky))], data={"labels": 'a "quoted" ü'})
    assert reply.status_code == 201, reply.text
    assert reply.json()["added"][0]["label"] == 'a "quoted" ü'
    body = b'preamble\r\n--b\r\ncontent-disposition: form-data; name="labels"\r\n\r\nx\r\n--b--\r\n'
    kind = {"content-type": 'multipart/form-data; boundary="b"'}
    assert client.post(address, content=body, headers=kind).status_code == 400
    assert client.post(address, content=body.removeprefix(b"preamble"), headers=kind).status_code == 422
