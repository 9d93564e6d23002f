"""How many drawings a second `mapwise serve` answers, beside its encoder's bare forward pass; and what it holds.

    python -m benchmarks.serve.load [--threads 2] [--quick] [--json FILE]

The server, its processes and the clients share the machine's cores. Pictures come as PNG files, or as one array of
their pixels. Beside it stand, in batches of as many drawings as a request has and with as many threads, the encoder's
network alone on numbers that are ready, and the encoder alone on what the request carries: the bytes of the files,
which it decodes, or the array. The server does that too, answers for 32 predictors in turn, and writes JSON.
"""

import argparse
import asyncio
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import row
from benchmarks.row import Line, Row, Target

CLIENTS, PICTURES = (1, 8, 64), (1, 16)
SHARES = {1: 0.35, 16: 0.70}
"""Of what the encoder does alone, that a request of so many pictures is to reach."""
PREDICTORS, RESIDENT, MEGABYTES = 32, 1_000, 200
ADDITIONS, MILLISECONDS = 300, 50
SIDE, READ, KINDS, SHOTS = 96, 28, 3, 5
WAYS = {"files": "of the encoder", "array": "of the network"}
"""How a request carries its pictures, a PNG each or one array of their pixels; and what bounds it."""


def drawing(kind: int, seed: int) -> bytes:
    """A PNG of two strokes."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng([kind, seed])
    image = Image.new("L", (SIDE, SIDE), 255)
    strokes = [
        [((10, 48), (86, 48)), ((48, 10), (48, 86))],
        [((12, 12), (84, 84)), ((12, 84), (84, 12))],
        [((20, 10), (20, 86)), ((20, 86), (80, 86))],
    ][kind]
    for stroke in strokes:
        points = [(x + 4 * random.normal(), y + 4 * random.normal()) for x, y in stroke]
        ImageDraw.Draw(image).line(points, fill=0, width=5)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def numbers(kind: int, seed: int) -> np.ndarray:
    """The same drawing as the bytes of its pixels, of the size that the encoder reads."""
    from PIL import Image

    image = Image.open(io.BytesIO(drawing(kind, seed)))
    return np.asarray(image.resize((READ, READ), Image.Resampling.LANCZOS))


def array_form(pictures: np.ndarray) -> bytes:
    """A multipart body of one array."""
    file = io.BytesIO()
    np.save(file, pictures)
    head = b'--x0x\r\nContent-Disposition: form-data; name="array"; filename="a.npy"\r\n\r\n'
    return head + file.getvalue() + b"\r\n--x0x--\r\n"


def form(pictures: list[bytes], labels: list[str]) -> bytes:
    """A multipart body, with the boundary "x0x"."""
    parts = [
        b'--x0x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + picture
        for picture in pictures
    ]
    parts += [b'--x0x\r\nContent-Disposition: form-data; name="labels"\r\n\r\n' + one.encode() for one in labels]
    return b"\r\n".join(parts) + b"\r\n--x0x--\r\n"


class Client:
    """One connection that stays open; as little of a client as can be, since it shares the server's cores."""

    def __init__(self, port: int):
        self.port = port

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def request(self, method: str, path: str, kind: str, body: bytes) -> bytes:
        """The bytes of a request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: {kind}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        return int(head[9:12]), await self.reader.readexactly(length)

    async def json(self, method: str, path: str, content: Any = None) -> Any:
        """The JSON that answers a JSON body."""
        status, body = await self.ask(
            self.request(method, path, "application/json", b"" if content is None else json.dumps(content).encode())
        )
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {body[:200]!r}")
        return json.loads(body)

    async def pictures(self, path: str, pictures: list[bytes], labels: list[str]) -> Any:
        """The JSON that answers pictures."""
        body = form(pictures, labels)
        status, answer = await self.ask(self.request("POST", path, "multipart/form-data; boundary=x0x", body))
        if status >= 300:
            raise RuntimeError(f"{path}: {status} {answer[:200]!r}")
        return json.loads(answer)


async def predictor(client: Client, name: str, seed: int) -> str:
    """The id of a new predictor of three kinds of drawings."""
    id: str = (await client.json("POST", "/v1/predictors", {"name": name, "modality": "pictures"}))["id"]
    pictures = [drawing(kind, seed + shot) for kind in range(KINDS) for shot in range(SHOTS)]
    labels = [f"kind {kind}" for kind in range(KINDS) for _ in range(SHOTS)]
    await client.pictures(f"/v1/predictors/{id}/examples", pictures, labels)
    return id


@contextmanager
def server(folder: Path) -> Iterator[tuple[int, int]]:
    """The port and the process of a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", "--no-browser", "--port", str(port), "--folder", str(folder)]
    environment = dict(os.environ)
    process = subprocess.Popen([sys.executable, "-m", "mapwise", *words], env=environment, stdout=subprocess.DEVNULL)
    try:
        asyncio.run(_until_ready(port))
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


async def _until_ready(port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            async with Client(port) as client:
                if await client.json("GET", "/readyz"):
                    return
        except (OSError, RuntimeError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.1)
    raise RuntimeError("the server doesn't answer")


def alone(batch: int, threads: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Pictures a second of the encoder's network on ready numbers, and of the encoder on what each way carries."""
    import torch

    from mapwise.catalog.encoders import encoder_named
    from mapwise.encoders.encoder import Prepares

    encoder = encoder_named("drawings", fetch=False)
    assert isinstance(encoder, Prepares)
    seeds = [(place % KINDS, place) for place in range(batch)]
    carried = {"files": [drawing(*seed) for seed in seeds], "array": np.stack([numbers(*seed) for seed in seeds])}
    x = encoder.rows(carried["files"])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    network = _rate(lambda: encoder.features(x), batch, seconds)
    whole = {way: _rate(lambda rows=rows: encoder(rows), batch, seconds) for way, rows in carried.items()}
    torch.set_num_threads(before)
    return network, whole


def _rate(work: Callable[[], object], batch: int, seconds: float) -> float:
    """Pictures a second: the median of parts of the time."""
    work()
    rates, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(rates) < 3:
        start = time.perf_counter()
        for _ in range(10):
            work()
        rates.append(10 * batch / (time.perf_counter() - start))
    return statistics.median(rates)


async def answered(port: int, ids: list[str], clients: int, pictures: int, seconds: float, way: str = "files") -> Line:
    """Requests of so many pictures by so many clients at once."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def work(number: int) -> None:
        async with Client(port) as client:
            seeds = [(p % KINDS, 100 + number + p) for p in range(pictures)]
            if way == "array":
                body = array_form(np.stack([numbers(*seed) for seed in seeds]))
            else:
                body = form([drawing(*seed) for seed in seeds], [])
            requests = [
                client.request("POST", f"/v1/predictors/{id}/predict", "multipart/form-data; boundary=x0x", body)
                for id in ids
            ]
            place = number
            while time.perf_counter() < end:
                start = time.perf_counter()
                status, answer = await client.ask(requests[place % len(requests)])
                took.append(time.perf_counter() - start)
                if status != 200:
                    raise RuntimeError(f"{status} {answer[:200]!r}")
                place += 1

    start = time.perf_counter()
    await asyncio.gather(*(work(number) for number in range(clients)))
    span = time.perf_counter() - start
    order = sorted(took)
    return {
        "pictures as": way,
        "clients": clients,
        "pictures a request": pictures,
        "pictures/s": pictures * len(took) / span,
        "p50, ms": 1000 * order[len(order) // 2],
        "p99, ms": 1000 * order[min(len(order) - 1, int(0.99 * len(order)))],
    }


async def additions(port: int, id: str, count: int) -> list[float]:
    """Seconds of each of so many additions of one example, one after another."""
    took = []
    async with Client(port) as client:
        for place in range(count):
            picture = [drawing(place % KINDS, 1000 + place)]
            start = time.perf_counter()
            await client.pictures(f"/v1/predictors/{id}/examples", picture, [f"kind {place % KINDS}"])
            took.append(time.perf_counter() - start)
    return sorted(took)


def resident(pid: int) -> float:
    """Megabytes that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system doesn't say what a process holds")


async def many(port: int, count: int) -> None:
    """Make so many predictors, and ask each once."""
    async with Client(port) as client:
        for place in range(count):
            id = await predictor(client, f"resident {place}", 7 * place)
            await client.pictures(f"/v1/predictors/{id}/predict", [drawing(0, place)], [])


def measure(options: argparse.Namespace) -> Row:
    result = Row(
        "serve",
        f"drawings of {SIDE} x {SIDE} pixels",
        f"pictures a second through HTTP, from PNG files of {SIDE} x {SIDE} pixels or an array of {READ} x {READ} "
        f"bytes each, for {PREDICTORS} predictors of {KINDS} classes with {SHOTS} examples each in turn, clients on "
        "the same cores; beside the encoder's network alone on ready numbers, and the encoder alone on what a request "
        "carries, in batches of as many pictures as a request has",
        learner="logistic behind drawings",
    )
    quick, seconds = options.quick, 0.5 if options.quick else 8.0
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (port, pid):
        ids = asyncio.run(_begun(port, 2 if quick else PREDICTORS))
        time.sleep(1 if quick else 20)  # what is computed after the answers is done
        lines = []
        for pictures in PICTURES:
            network, whole = alone(pictures, options.threads, seconds / 2)
            for way, beside in WAYS.items():
                for clients in CLIENTS[:2] if quick else CLIENTS:
                    line = asyncio.run(answered(port, ids, clients, pictures, seconds, way))
                    rates = {"network alone, pictures/s": network, "encoder alone, pictures/s": whole[way]}
                    shares = zip(("of the network", "of the encoder"), rates.values(), strict=True)
                    lines.append({**line, **rates, **{name: line["pictures/s"] / rate for name, rate in shares}})
                mine = [line for line in lines if (line["pictures as"], line["pictures a request"]) == (way, pictures)]
                best = max(line[beside] for line in mine)
                words = (
                    f"pictures/s, {pictures} a request as {way}, share {beside} alone, at the best number of clients"
                )
                result.targets.append(Target(words, best, SHARES[pictures]))
        result.tables.append(("predictions", lines))
        took = asyncio.run(additions(port, ids[0], 10 if quick else ADDITIONS))
        p50, p99 = (1000 * took[min(len(took) - 1, int(share * len(took)))] for share in (0.5, 0.99))
        result.tables.append(("adding an example", [{"examples": len(took), "p50, ms": p50, "p99, ms": p99}]))
        result.targets.append(Target("milliseconds to add an example, 99th percentile", p99, MILLISECONDS, False))
        before, count = resident(pid), 20 if quick else RESIDENT
        asyncio.run(many(port, count))
        grown = resident(pid) - before
        result.tables.append(("residents", [{"predictors": count, "MB": grown, "KB each": 1024 * grown / count}]))
        words = f"megabytes of {count:,} further predictors in memory"
        result.targets.append(Target(words, grown, MEGABYTES, False))
    options.rounds = None
    return result


async def _begun(port: int, count: int) -> list[str]:
    async with Client(port) as client:
        return [await predictor(client, f"p{place}", 100 * place) for place in range(count)]


def main() -> int:
    parser = row.parser(__doc__)
    parser.set_defaults(threads=2)
    return row.run(parser, measure, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
