"""The encoders that predictors share: requests for different predictors go through one pass together.

While passes run, further requests gather and form the next one, so that a request that comes alone waits for nothing.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mapwise.catalog.encoders import ENCODERS, encoder_named, encoders_of
from mapwise.core.spelling import suggestion
from mapwise.data.modality import Modality
from mapwise.encoders.cached import Cached
from mapwise.encoders.encoder import Encoder, cut_rows
from mapwise.interfaces.server.state.shared_encoder import EncodedRows, SharedEncoder

Rows = Sequence[Any] | np.ndarray
"""Texts, the numbers of pictures, or an array of pictures [N, H, W]."""


class Encoders:
    """Every encoder that was needed so far, each once.

    models: name -> version of further encoders that may be opened, such as hf:models/MiniLM; nothing is downloaded.
    batch:  rows of a pass at most.
    """

    def __init__(self, models: Mapping[str, str], batch: int):
        self.models, self.batch = models, batch
        self._shared: dict[str, Encoder] = {}
        self._passes: dict[str, Passes] = {}

    def named(self, name: str, modality: Modality | None = None) -> Encoder:
        """The encoder of this name; "auto": the first that reads such rows.

        Raises ValueError for a name that isn't there, that isn't allowed, or that reads other rows.
        """
        if name == "auto":
            name = encoders_of(modality or "texts")[0].name  # the cheapest: a draft begins without rows
        if name not in self._shared:
            self._check(name)
            self._shared[name] = self._opened(name)
        encoder = self._shared[name]
        if modality is not None and encoder.reads != modality:
            raise ValueError(
                f"the encoder {name} reads {encoder.reads} and the rows are {modality}: take another encoder"
            )
        return encoder

    def _check(self, name: str) -> None:
        """Raises ValueError for an encoder that isn't of the catalog, nor on the list."""
        if name in self.models or name in list(ENCODERS):
            return
        if ":" in name:
            raise ValueError(
                f"the encoder {name!r} is a model that this server doesn't allow: take one of the catalog, or start "
                "the server with --model"
            )
        raise ValueError(f"there is no encoder {name!r}: {suggestion(name, list(ENCODERS))}")

    def _opened(self, name: str) -> Encoder:
        encoder = _uncached(encoder_named(name, fetch=False))
        if name in self.models and self.models[name] != encoder.version:
            raise ValueError(f"the encoder {name} is of version {encoder.version}, and {self.models[name]} is allowed")
        return encoder if encoder.reads == "table" else SharedEncoder.of(encoder)

    def shared(self, encoder: Encoder) -> Encoder:
        """The encoder that others share, in place of one that was restored from a file; a table's stays as it is."""
        known = self.named(encoder.name)
        if not isinstance(known, SharedEncoder):
            return encoder
        return known if _same(encoder.state, known.state) else SharedEncoder.of(_uncached(encoder))

    def restored(self, name: str, state: Mapping[str, Any]) -> Encoder:
        """The encoder of this name that was fitted to this."""
        known = self.named(name)
        if not state or (isinstance(known, SharedEncoder) and _same(state, known.state)):
            return known
        return self.shared(encoder_named(name, fetch=False).with_state(state))

    def preparing(self, encoder: Encoder) -> tuple[Encoder, int] | None:
        """What makes the numbers of a picture that the encoder's network reads, and their pixels a side.

        None where it takes pictures.
        """
        network = encoder.network if isinstance(encoder, SharedEncoder) else None
        return None if network is None else (network.rows, network.near)

    @property
    def figures(self) -> dict[str, float]:
        """Rows that were encoded, and the passes that they took."""
        passes = self._passes.values()
        return {"encoded_rows": sum(one.rows for one in passes), "encoder_passes": sum(one.passes for one in passes)}

    def takes(self, encoder: Encoder, stack: np.ndarray) -> bool:
        """Whether pictures have the size that the encoder's network reads, so that little is to be done before it."""
        prepares = self.preparing(encoder)
        return prepares is not None and stack.dtype == np.uint8 and stack.shape[1:] == (prepares[1], prepares[1])

    async def encoded(self, encoder: Encoder, rows: Any) -> Any:
        """Rows as a predictor with this encoder takes them, encoded together with those of other requests.

        rows: texts, what a worker made of pictures, or pictures that `takes` is true of; columns of a table stay as
              they are.

        Raises ValueError for a row that can't be read.
        """
        if not isinstance(encoder, SharedEncoder):
            return rows
        name, own = encoder.name, encoder.inner is not getattr(self._shared.get(encoder.name), "inner", None)
        if own:  # it was fitted, or tuned, for this predictor alone
            return (await asyncio.to_thread(encoded_rows, encoder, [rows]))[0]
        if name not in self._passes:
            self._passes[name] = Passes(encoder, self.batch)
        return await self._passes[name].encoded(rows)


class Passes:
    """The passes of one encoder, in threads of its own.

    At a time there is one, and two of a network of mapwise's own, which threads share safely.
    """

    def __init__(self, encoder: SharedEncoder, most: int):
        self.encoder, self.most = encoder, most
        self._count = 1 if encoder.network is None else 2
        self.rows, self.passes = 0, 0
        self._waiting: list[tuple[Rows, asyncio.Future[EncodedRows]]] = []
        self._threads = ThreadPoolExecutor(self._count, thread_name_prefix=f"encode-{encoder.name}")
        self._running = 0

    async def encoded(self, rows: Rows) -> EncodedRows:
        """These rows, encoded in the next pass."""
        future: asyncio.Future[EncodedRows] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        if self._running < self._count:
            self._running += 1
            asyncio.get_running_loop().create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            together: list[tuple[Rows, asyncio.Future[EncodedRows]]] = []
            count = 0
            while self._waiting and (not together or count + len(self._waiting[0][0]) <= self.most):
                together.append(self._waiting.pop(0))
                count += len(together[-1][0])
            self.rows, self.passes = self.rows + count, self.passes + 1
            try:
                outcomes = await loop.run_in_executor(self._threads, self._outcomes, [rows for rows, _ in together])
            except BaseException as error:  # the thread is gone: everyone is to know
                outcomes = [error] * len(together)
            for (_, future), outcome in zip(together, outcomes, strict=True):
                if future.done():  # whoever waited is gone
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
        self._running -= 1

    def _outcomes(self, requests: list[Rows]) -> Sequence[EncodedRows | BaseException]:
        """What came of each request; where one can't be read, each is encoded by itself."""
        try:
            return encoded_rows(self.encoder, requests)
        except Exception as error:
            if len(requests) == 1:
                return [error]
            return [self._outcomes([rows])[0] for rows in requests]


def _uncached(encoder: Encoder) -> Encoder:
    """The encoder without a cache: what people send isn't kept in that of the server's user."""
    return encoder.encoder if isinstance(encoder, Cached) else encoder


def _same(state: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two encoders learned the same, as far as JSON says it; arrays are of one encoder alone."""
    if any(isinstance(part, np.ndarray) for part in (*state.values(), *other.values())):
        return False
    return json.dumps(state, sort_keys=True) == json.dumps(other, sort_keys=True)


def encoded_rows(encoder: SharedEncoder, requests: Sequence[Rows]) -> list[EncodedRows]:
    """The rows of each request as the encoder makes them, together, and whether each row was cut."""
    inner, network = encoder.inner, encoder.network
    assert inner is not None
    if network is not None:
        parts = [network.rows(rows) if isinstance(rows, np.ndarray) else np.stack(rows) for rows in requests]
        array = network.features(np.concatenate(parts))
        cut = np.zeros(len(array), bool)
    else:
        rows = [row for rows in requests for row in rows]
        array, cut = inner(rows), np.zeros(len(rows), bool)
        cut[cut_rows(inner, rows)] = True
    whole = EncodedRows(array, cut.tolist())
    ends = np.cumsum([len(rows) for rows in requests]).tolist()
    return [whole[end - len(rows) : end] for end, rows in zip(ends, requests, strict=True)]
