"""What tests of the server need: drawings, predictors made through it, and a server in a process of its own."""

import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

ROOT = Path(__file__).resolve().parents[3]


def png(kind: int, seed: int = 0, size: int = 64) -> bytes:
    """A drawing of two strokes, of one of three kinds, as a PNG."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng([kind, seed])
    image = Image.new("L", (size, size), 255)
    drawing = ImageDraw.Draw(image)

    def moved(*points):
        return [
            (x * size / 64 + random.normal() * size / 32, y * size / 64 + random.normal() * size / 32)
            for x, y in points
        ]

    strokes = [
        [((10, 32), (54, 32)), ((32, 10), (32, 54))],
        [((12, 12), (52, 52)), ((12, 52), (52, 12))],
        [((14, 10), (14, 54)), ((14, 54), (52, 54))],
    ]
    for stroke in strokes[kind]:
        drawing.line(moved(*stroke), fill=0, width=max(1, size // 16))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("files", (f"{place}.png", content, "image/png")) for place, content in enumerate(contents)]


def begin(client, **about) -> str:
    reply = client.post("/v1/predictors", json=about)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def drawings(client, shots: int = 3) -> str:
    """A predictor of three kinds of drawings."""
    id = begin(client, name="marks", modality="pictures")
    parts = files(*(png(kind, seed) for kind in range(3) for seed in range(shots)))
    labels = [name for name in ("plus", "cross", "corner") for _ in range(shots)]
    reply = client.post(f"/v1/predictors/{id}/examples", files=parts, data={"labels": labels})
    assert reply.status_code == 201, reply.text
    return id


def intents(client) -> str:
    """A predictor of two kinds of texts."""
    id = begin(client, name="intents", modality="texts")
    texts = ["please cancel it", "stop my order", "I want my money back", "refund me please"]
    labels = ["cancel", "cancel", "refund", "refund"]
    reply = client.post(f"/v1/predictors/{id}/examples", json={"texts": texts, "labels": labels})
    assert reply.status_code == 201, reply.text
    return id


def card_of(client, id: str, seconds: float = 60) -> dict:
    """The card once its score is computed."""
    end = time.monotonic() + seconds
    while True:
        card = client.get(f"/v1/predictors/{id}").json()
        if card["score"]["state"] != "computing":
            return card
        assert time.monotonic() < end, card
        time.sleep(0.05)


class Server:
    """`mapwise serve` in a process of its own."""

    def __init__(self, folder: Path, *words: str, **environment: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "mapwise", "serve", "--no-browser", "--port", str(self.port)]
        variables = {**os.environ, **environment}
        variables["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), variables.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [*command, "--folder", str(folder), *words],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self, seconds: float = 90) -> "Server":
        """Itself, once it answers."""
        end = time.monotonic() + seconds
        while True:
            try:
                if httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.process.stdout.read()
            assert time.monotonic() < end, "the server doesn't answer"
            time.sleep(0.1)

    def end(self) -> str:
        """Ask it to end; what it printed."""
        self.process.terminate()
        return self.process.communicate(timeout=60)[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)
