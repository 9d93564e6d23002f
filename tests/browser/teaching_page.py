"""What tests of the page need: Debian's Chromium, a page that listens to every request, and a hand that draws."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from server_process import Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SIDE = 280
"""Units of the paper's side."""
STROKES = {
    "plus": [((60, 140), (220, 140)), ((140, 60), (140, 220))],
    "cross": [((70, 70), (210, 210)), ((70, 210), (210, 70))],
    "corner": [((70, 60), (70, 215)), ((70, 215), (215, 215))],
}
"""Three classes of two strokes each."""
SCRIBBLE = [((60 + 18 * step, 60 + 150 * (step % 2)), (78 + 18 * step, 210 - 150 * (step % 2))) for step in range(9)]
"""Unlike all of them."""


class Strange(AssertionError):
    """A page that asked another host, ran what it shouldn't, or complained."""


@contextmanager
def browser(*flags: str) -> Iterator[Any]:
    """Chromium, started with flags; the test is skipped where it, or Playwright, isn't installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("Chromium isn't installed: apt-get install chromium")
    with playwright.sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags])
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def opened(chromium: Any, server: Server, **settings: Any) -> Iterator[Any]:
    """The page of a server; raises Strange for a request to another host, an error, and a refused script."""
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-US", **settings})
    page, faults = context.new_page(), list[str]()
    context.on("request", lambda one: faults.append(one.url) if not _own(one.url, server) else None)
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("console", lambda line: faults.append(line.text) if _strange(line) else None)
    page.goto(f"{server.address}/")
    page.wait_for_selector(".choice")
    try:
        yield page
    finally:
        context.close()
    if faults:
        raise Strange("\n".join(faults))


def _own(url: str, server: Server) -> bool:
    return url.startswith((f"{server.address}/", f"blob:{server.address}/", "data:"))


def _strange(line: Any) -> bool:
    """Whether a line of the console is a fault; refusals of the server are answers."""
    return line.type == "error" and "Failed to load resource" not in line.text


def begin(page: Any, kind: str) -> None:
    """Begin a predictor from the start screen."""
    page.click(f".choice[data-kind={kind}]")
    page.wait_for_selector(".predictor")


def sketch(page: Any, strokes: Any, seed: Any = "", noise: float = 7.0) -> None:
    """Draw strokes with a hand that shakes."""
    shaking = random.Random(f"{strokes}{seed}")
    box = page.locator("canvas.paper").bounding_box()
    scale = box["width"] / SIDE

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * scale, box["y"] + y * scale

    for start, end in strokes:
        ends = [[value + shaking.gauss(0, noise) for value in point] for point in (start, end)]
        page.mouse.move(*at(*ends[0]))
        page.mouse.down()
        for step in range(1, 5):
            part = step / 4
            points = [a + (b - a) * part + shaking.gauss(0, noise / 6) for a, b in zip(*ends, strict=True)]
            page.mouse.move(*at(*points))
        page.mouse.up()


def name_class(page: Any, name: str) -> None:
    """Say that what is shown is of a new class, or begin the class with nothing."""
    page.fill("[data-key=new-class]", name)
    page.press("[data-key=new-class]", "Enter")
    page.wait_for_function(
        "name => [...document.querySelectorAll('.class')].some(one => one.dataset.class === name)", arg=name
    )


def teach_drawings(page: Any, shots: int = 4) -> None:
    """Teach three classes of two strokes by drawing."""
    begin(page, "drawings")
    for shot in range(shots):
        for name, strokes in STROKES.items():
            sketch(page, strokes, shot)
            if shot:
                page.click(f".chip[data-label={name}]")
            else:
                name_class(page, name)
            count = shot * len(STROKES) + list(STROKES).index(name) + 1
            page.wait_for_function("n => document.querySelectorAll('.class [data-example]').length === n", arg=count)


def examples(page: Any) -> int:
    """How many examples are shown."""
    return page.locator(".class [data-example]").count()


def answer(page: Any) -> str:
    """The label of the answer to what is shown, or "none of these"."""
    page.wait_for_selector(".bar.best")
    none = page.locator(".bar.none.best").count()
    return "none of these" if none else page.locator(".bar.best").get_attribute("data-label")


def ask(page: Any, strokes: Any, seed: Any = "") -> str:
    """Draw on clean paper; what the page answers."""
    clear(page)
    sketch(page, strokes, seed)
    page.wait_for_function("() => document.querySelector('.queried img')")
    page.wait_for_timeout(180)  # the page waits for a hand that goes on
    return answer(page)


def clear(page: Any) -> None:
    """Take clean paper."""
    page.focus("canvas.paper")
    page.keyboard.press("c")
    page.wait_for_function("() => !document.querySelector('.queried img') && !document.querySelector('.bar.best')")


def axe_source() -> str:
    """The script of axe-core; the test is skipped where its package isn't installed."""
    package = pytest.importorskip(
        "axe_playwright_python", reason="axe isn't installed: pip install axe-playwright-python"
    )
    return next(Path(package.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8")


def serious(page: Any, source: str) -> list[str]:
    """What axe finds that is serious or critical."""
    page.evaluate(source)
    violations = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{one['id']}: {node['html'][:160]}"
        for one in violations
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
