"""Metrics in the text format of Prometheus."""

from collections import Counter
from collections.abc import Mapping
from threading import Lock

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds of the histogram's buckets."""


class Metrics:
    """Counts of requests and a histogram of their seconds, by route."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests = Counter[tuple[str, str, int]]()
        self._buckets: dict[tuple[str, str], list[int]] = {}
        self._seconds = Counter[tuple[str, str]]()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; its route is the template, which holds nothing of a user."""
        key = method if method in ("GET", "POST", "PATCH", "DELETE") else "other", route
        place = next((place for place, bound in enumerate(_BOUNDS) if seconds <= bound), len(_BOUNDS))
        with self._lock:
            self._requests[(*key, status)] += 1
            self._buckets.setdefault(key, [0] * (len(_BOUNDS) + 1))[place] += 1
            self._seconds[key] += seconds  # type: ignore[assignment]

    def text(self, figures: Mapping[str, float]) -> str:
        """All of it, with further gauges by name."""
        lines = ["# HELP mapwise_requests_total Requests that were answered.", "# TYPE mapwise_requests_total counter"]
        with self._lock:
            for (method, route, status), count in sorted(self._requests.items()):
                lines.append(f'mapwise_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}')
            lines.append("# HELP mapwise_request_seconds Seconds from the request to the end of its answer.")
            lines.append("# TYPE mapwise_request_seconds histogram")
            for (method, route), buckets in sorted(self._buckets.items()):
                labels, total = f'method="{method}",route="{route}"', 0
                for bound, count in zip((*map(str, _BOUNDS), "+Inf"), buckets, strict=True):
                    total += count
                    lines.append(f'mapwise_request_seconds_bucket{{{labels},le="{bound}"}} {total}')
                lines.append(f"mapwise_request_seconds_sum{{{labels}}} {self._seconds[(method, route)]:.6f}")
                lines.append(f"mapwise_request_seconds_count{{{labels}}} {total}")
        for name, value in figures.items():
            lines += [f"# TYPE mapwise_{name} gauge", f"mapwise_{name} {value:g}"]
        return "\n".join(lines) + "\n"
