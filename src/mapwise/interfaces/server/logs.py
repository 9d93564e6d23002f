"""Structured logs: one JSON object a line on standard error, with nothing of what users send."""

import json
import logging
import sys
import traceback


class JsonLines(logging.Formatter):
    """A record as a line of JSON; of an error where it arose, and not what it says, which may quote a user."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        content = {"time": self.formatTime(record), "level": record.levelname.lower(), "event": record.msg}
        content |= getattr(record, "about", {})
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            frames = traceback.extract_tb(error.__traceback__)
            content |= {
                "error": type(error).__name__,
                "where": [f"{frame.name}:{frame.lineno}" for frame in frames[-8:]],
            }
        return json.dumps(content)


def configure_logs() -> None:
    """Send what the server says to standard error as lines of JSON, and of uvicorn warnings alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("mapwise.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)
