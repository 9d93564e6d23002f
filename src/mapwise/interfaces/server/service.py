"""What every route stands on: the folder, the predictors, the encoders and the processes of one server."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mapwise.encoders.encoder import Encoder
from mapwise.interfaces.server.decoding import Decoded, NotPicture, TooLarge, decoded
from mapwise.interfaces.server.json_text import json_text
from mapwise.interfaces.server.limits import Limits
from mapwise.interfaces.server.metrics import Metrics
from mapwise.interfaces.server.pictures import SentPictures
from mapwise.interfaces.server.problems import Refusal
from mapwise.interfaces.server.state.encoders import Encoders
from mapwise.interfaces.server.state.evidence import evidence_for, evidence_json, without_weights
from mapwise.interfaces.server.state.live import Live
from mapwise.interfaces.server.state.residents import Residents
from mapwise.interfaces.server.state.store import Store
from mapwise.interfaces.server.workers import Workers, ready_to_decode, ready_to_fit

LOG = logging.getLogger("mapwise.serve")
_QUIET = 0.3
"""Seconds after a change before its evidence is computed: examples come in a row."""
DRAWINGS = "drawings"
"""The encoder for which photographs are a mistake, of which there is advice."""


@dataclass(frozen=True)
class Settings:
    """How a server was started.

    folder:  of its state.
    token:   without which nothing is answered; "" for none.
    hosts:   names by which it may be called, with the port where that is given.
    models:  name -> version of encoders beyond the catalog that may be opened.
    decoders: processes that decode pictures.
    log_requests: whether each request is a line of the log.
    threads: of the encoder's passes; None: half of the cores, since decoding and answering need the others.
    """

    folder: Path
    token: str = ""
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    models: Mapping[str, str] | None = None
    decoders: int = 2
    threads: int | None = None
    log_requests: bool = False
    limits: Limits = field(default_factory=Limits)


class Service:
    """One server's state and processes; made before its event loop runs, and started in it."""

    def __init__(self, settings: Settings):
        self.settings, self.limits = settings, settings.limits
        self.encoders = Encoders(settings.models or {}, self.limits.batch)
        self.store = Store(settings.folder, self.limits.history)
        self.residents = Residents(self.store, self.encoders, self.limits)
        self.decoders = Workers("decoding", settings.decoders, ready_to_decode, self.limits.decode_memory)
        self.fitters = Workers("fitting", self.limits.fits, ready_to_fit, self.limits.fit_memory, nice=10)
        self.metrics = Metrics()
        self.ready, self.closing, self.fits = False, False, 0
        self._to_judge: dict[str, float] = {}
        self._judging: asyncio.Task[None] | None = None
        self._fitters_start: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Start the processes."""
        import torch

        torch.set_num_threads(self.settings.threads or max(1, (os.cpu_count() or 2) // 2))
        await self.decoders.start()
        # These load torch, and the first answers don't need them.
        self._fitters_start = asyncio.create_task(self.fitters.start())
        await self.residents.on_disk(self.store.sweep)
        self._judging = asyncio.create_task(self._judge())
        self.ready = True

    async def stop(self) -> None:
        """End the processes, once what is in flight is answered."""
        self.closing = True
        for task in (self._judging, self._fitters_start):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
        self.decoders.close()
        self.fitters.close()
        await self.residents.on_disk(self.store.close)

    def figures(self) -> dict[str, float]:
        """What is held and how it is used, for metrics."""
        return {
            "resident_predictors": len(self.residents),
            "waiting_reports": len(self._to_judge),
            "killed_processes": self.decoders.kills + self.fitters.kills,
            **self.encoders.figures,
        }

    async def live(self, id: str) -> Live:
        """The predictor of this id; raises Refusal where there is none."""
        live = await self.residents.get(id)
        if live is None:
            raise Refusal(404, "there is no predictor of this id: list them at /v1/predictors")
        return live

    def judge(self, id: str, wait: float = _QUIET) -> None:
        """Let the evidence of a predictor be computed after the answer, unless it is there.

        wait: seconds, since examples come in a row; where it waits already, the earlier moment stands.
        """
        moment = time.monotonic() + wait
        self._to_judge[id] = min(moment, self._to_judge.get(id, moment))
        self._wake.set()

    async def _judge(self) -> None:
        """Compute the evidence of one predictor after another."""
        while True:
            self._wake.clear()
            if not self._to_judge:
                await self._wake.wait()
            id, moment = min(self._to_judge.items(), key=lambda item: item[1])
            wait = moment - time.monotonic()
            if wait > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)
                continue
            del self._to_judge[id]
            try:
                await self._judge_one(id)
            except Exception:
                LOG.exception("evidence")

    async def _judge_one(self, id: str) -> None:
        live = await self.residents.get(id)
        if live is None or live.predictor is None or live.missing or live.evidence is not None:
            return
        seconds = self.limits.report_seconds
        evidence = await self.fitters.run(3 * seconds, evidence_for, without_weights(live.predictor), seconds)
        self.residents.learn(replace(live, evidence=evidence, temperature=evidence.temperature))
        content = json_text(evidence_json(evidence))
        await self.residents.on_disk(self.store.keep_evidence, id, live.version, content)

    def encoder_of(self, live: Live) -> Encoder:
        """The encoder of a predictor, which may have a state of its own."""
        if live.predictor is not None:
            return live.predictor.encoder
        return self.encoders.restored(live.draft.encoder, live.draft.state)

    @asynccontextmanager
    async def fitting(self) -> AsyncIterator[None]:
        """One of the fits that run at a time; raises Refusal where there are as many as may be."""
        if self.fits >= self.limits.fits:
            raise Refusal(429, f"{self.fits} predictors are being fitted: try again in a moment", {"retry-after": "5"})
        self.fits += 1
        try:
            yield
        finally:
            self.fits -= 1

    async def pictures(self, live: Live, pictures: SentPictures, previews: bool) -> list[Decoded]:
        """Pictures decoded for a predictor, by a worker."""
        rows = self.encoders.preparing(self.encoder_of(live))
        photographs = previews and live.draft.encoder == DRAWINGS
        limits = self.limits
        try:
            bounds = limits.side, limits.pixels
            answers: list[Decoded] = await self.decoders.run(
                *(limits.decode_seconds, decoded, pictures.contents, pictures.names, rows),
                *(*bounds, previews, photographs),
            )
        except TooLarge as error:
            raise Refusal(413, str(error)) from None
        except NotPicture as error:
            raise Refusal(422, str(error)) from None
        return answers

    async def encoded(self, live: Live, rows: Any) -> Any:
        """Rows as the predictor takes them, in a pass that is shared with other requests."""
        return await self.encoders.encoded(self.encoder_of(live), rows)


def new_id() -> str:
    """The id of a new predictor."""
    return secrets.token_hex(8)
