"""Predictors in memory: each is a value swapped by one reference, behind a lock for those who write."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from mapwise.encoders.encoder import Encoder
from mapwise.interfaces.server.limits import Limits
from mapwise.interfaces.server.state.changes import Step, able, from_names, next_version
from mapwise.interfaces.server.state.encoders import Encoders
from mapwise.interfaces.server.state.evidence import evidence_of_json
from mapwise.interfaces.server.state.live import Live
from mapwise.interfaces.server.state.store import Reply, Store, StoredPredictor
from mapwise.predictors.classes import Predictor
from mapwise.predictors.evidence.cross_fitting import CHANGED, Crossed

T = TypeVar("T")


class Residents:
    """The predictors of a folder; those that were used last are in memory."""

    def __init__(self, store: Store, encoders: Encoders, limits: Limits):
        self.store, self.encoders, self.limits = store, encoders, limits
        self.disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    def __len__(self) -> int:
        return len(self._live)

    async def on_disk(self, task: Callable[..., T], *given: Any) -> T:
        """What a function of the store returns, in the store's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.disk, task, *given)

    @asynccontextmanager
    async def writing(self, key: str) -> AsyncIterator[None]:
        """One writer of a predictor, or of a request that is sent twice, at a time."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and not getattr(lock, "_waiters", None):
                self._locks.pop(key, None)

    async def get(self, id: str) -> Live | None:
        """The predictor of this id as it is now; None where there is none."""
        live = self._live.get(id)
        if live is None:
            record = await self.on_disk(self.store.record, id)
            if record is None:
                return None
            revived = await asyncio.to_thread(self.revived, record)
            live = self._live.setdefault(id, revived)  # a writer may have been faster
        self._live.move_to_end(id)
        while len(self._live) > self.limits.residents:
            self._live.popitem(last=False)
        return live

    async def commit(self, change: Step, key: str, fingerprint: str, reply: Reply) -> None:
        """Keep a change on the disk, and then let everyone see it."""
        await self.on_disk(self.store.commit, change, key, fingerprint, reply)
        self._live[change.live.id] = replace(change.live, updated=time.time())

    async def remove(self, id: str, key: str, fingerprint: str, reply: Reply) -> None:
        """Remove a predictor."""
        await self.on_disk(self.store.remove, id, key, fingerprint, reply)
        self._live.pop(id, None)

    def learn(self, live: Live) -> None:
        """Let a version be seen with what was computed of it, if it is still the current one."""
        current = self._live.get(live.id)
        if current is not None and current.version == live.version:
            self._live[live.id] = live

    async def undone(self, live: Live) -> Step:
        """Back to the version before; raises LookupError where there is none."""
        record = await self.on_disk(self.store.record, live.id, live.parent) if live.parent else None
        if record is None:
            raise LookupError("there is no earlier version to return to")
        before, now = await self.on_disk(self._spans, live)
        earlier = await asyncio.to_thread(self.revived, record)
        closed = [number for number, place in now.items() if before.get(number) != place]
        opened = [(number, place) for number, place in before.items() if now.get(number) != place]
        after = next_version(
            *(live, earlier.draft, earlier.predictor, earlier.examples),
            parent=record.parent,
            temperature=earlier.temperature,
        )
        return Step(after, closed=closed, opened=opened)

    def _spans(self, live: Live) -> tuple[dict[int, int], dict[int, int]]:
        return self.store.members(live.id, live.parent), self.store.members(live.id, live.version)

    def base(self, name: str) -> Predictor:
        """The predictor of a file in the folder, with the encoder that others share where it can be that."""
        predictor = Predictor.load(self.store.files / name)
        return replace(predictor, encoder=self.encoders.shared(predictor.encoder))

    def revived(self, record: StoredPredictor) -> Live:
        """The predictor of a record."""
        draft = record.draft
        base = self.base(draft.base) if draft.base else None
        encoder = self.encoders.restored(draft.encoder, draft.state) if base is None else base.encoder
        predictor = self._of_rows(record, encoder, base) if record.rows else from_names(draft, encoder)
        predictor = predictor and able(predictor)  # here and not at the first question, which others wait for
        evidence = evidence_of_json(json.loads(record.evidence)) if record.evidence else None
        return Live(
            *(record.id, record.version, draft, predictor, tuple(row.number for row in record.rows), record.parent),
            next_example=record.next_example,
            temperature=evidence.temperature if evidence else record.temperature,
            evidence=evidence,
            created=record.created,
            updated=record.updated,
        )

    def _of_rows(self, record: StoredPredictor, encoder: Encoder, base: Predictor | None) -> Predictor:
        draft = record.draft
        own = base is not None and draft.learner == base.head.name
        head = base.head if base is not None and own else Predictor.head_of(draft.learner)
        place_of = {number: place for place, (number, _) in enumerate(draft.classes)}
        sources = tuple(row.source for row in record.rows)
        predictor = Predictor(
            *(encoder, head, np.stack([row.array for row in record.rows])),
            columns=np.asarray([place_of[row.class_number] for row in record.rows], np.int64),
            weight=np.asarray([row.weight for row in record.rows], np.float64),
            classes=draft.class_names,
            sources=sources if any(sources) else (),
            digests=np.asarray([row.digest for row in record.rows], np.int64),
            optimism=draft.optimism,
        )
        if base is not None and base.crossed is not None:
            same = np.array_equal(base.digests, predictor.digests) and np.array_equal(base.columns, predictor.columns)
            crossed = base.crossed if same else Crossed(why=CHANGED)
            predictor = replace(predictor, crossed=crossed, known_temperature=base.temperature)
        if draft.modality == "texts":
            sentences = {name: draft.sentences[number] for number, name in draft.classes if number in draft.sentences}
            predictor = predictor.with_descriptions(sentences, names=draft.names)
        return predictor
