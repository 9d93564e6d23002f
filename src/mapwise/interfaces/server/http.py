"""HTTP as llhttp reads it, in C, with a bound on what isn't the body of a request, which that parser doesn't set."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = 64 << 10
"""Bytes that a request's head may have, and what follows its body."""


class BoundedHttp(HttpToolsProtocol):
    """One connection; a head that is too long, or never ends, ends it."""

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self._advanced, self._pending = False, 0

    def data_received(self, data: bytes) -> None:
        """Bytes came: those after which no part of a request was whole are counted."""
        for begin in range(0, len(data), HEAD):
            part, self._advanced = data[begin : begin + HEAD], False
            super().data_received(part)
            if self.transport.is_closing():
                return
            self._pending = 0 if self._advanced else self._pending + len(part)
            if self._pending > HEAD:
                self.send_400_response(f"the head of a request may have {HEAD:,} bytes: send fewer or shorter headers")
                return

    def on_message_begin(self) -> None:
        """A request begins."""
        self._advanced = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._advanced = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of its body came."""
        self._advanced = True
        super().on_body(body)
