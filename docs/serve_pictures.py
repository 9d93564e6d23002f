"""Make the pictures of the page of `mapwise serve` in docs/pictures: python docs/serve_pictures.py

It needs Debian's Chromium and Playwright, as the tests of the page do, and draws and types by itself.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("interfaces/server", "browser")]

from server_process import Server  # noqa: E402

from teaching_page import STROKES, begin, browser, name_class, opened, sketch, teach_drawings  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
COLOURS = 200
"""Of a picture's palette: enough for a page, and small."""
TEXTS = """text,label
please cancel my order,cancel order
I don't want it any more,cancel order
stop the order I made today,cancel order
can I still cancel?,cancel order
take that order back,cancel order
give me my money back,refund money
where is my refund,refund money
you charged me twice,refund money
I was promised a refund,refund money
return the payment please,refund money
where is my parcel,track parcel
has it been shipped,track parcel
when will the package arrive,track parcel
the parcel is late,track parcel
is my package on its way,track parcel
"""
WAITING = """cancel it and give me the money
the package never came
it came broken
how long does a refund take
can you stop the delivery"""


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        server = Server(Path(folder)).wait()
        try:
            with opened(chromium, server, viewport={"width": 1360, "height": 900}) as page:
                drawings(page)
            with opened(chromium, server, viewport={"width": 1360, "height": 900}, color_scheme="dark") as page:
                texts(page)
            with opened(chromium, server, viewport={"width": 360, "height": 780}, device_scale_factor=2) as page:
                phone(page)
        finally:
            server.end()


def drawings(page: Any) -> None:
    """Draw, and the map."""
    teach_drawings(page)
    rename(page, "signs")
    sketch(page, STROKES["cross"], "new")
    settle(page)
    keep(page, "draw")
    page.locator(".mapped").scroll_into_view_if_needed()
    keep(page, "map", page.locator(".mapped"))


def texts(page: Any) -> None:
    """Drop a table of texts, and what to label next."""
    begin(page, "texts")
    rename(page, "letters to the shop")
    page.click("[data-way=drop]")
    file = {"name": "letters.csv", "mimeType": "text/csv", "buffer": TEXTS.encode()}
    page.set_input_files(".zone input >> nth=0", file)
    page.click(".batch .first")
    page.click("[data-key=add-labelled]")
    page.wait_for_function("() => document.querySelectorAll('.class [data-example]').length === 15")
    file = {"name": "new.txt", "mimeType": "text/plain", "buffer": WAITING.encode()}
    page.set_input_files(".zone input >> nth=0", file)
    page.click("[data-key=aside]")
    page.wait_for_selector(".suggestion")
    page.click("[data-key=show]")
    page.set_input_files(".zone input >> nth=0", {**file, "buffer": b"my card was charged, but nothing came\nyes"})
    settle(page)
    keep(page, "drop", full=True)


def phone(page: Any) -> None:
    """The drawings on a phone."""
    page.click(".predictors a:has-text('signs')")
    page.wait_for_selector(".predictor")
    name_class(page, "box")
    page.click("[data-key=undo]")
    sketch(page, STROKES["corner"], "phone")
    settle(page)
    page.evaluate("scrollTo(0, document.querySelector('.show').offsetTop - 12)")
    keep(page, "phone")


def rename(page: Any, name: str) -> None:
    page.click("[data-key=rename]")
    page.fill("dialog input", name)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"h1:text-is('{name}')")


def settle(page: Any) -> None:
    """Wait for the answer, what it rests on, the score, and for messages to go."""
    page.wait_for_selector(".vote .share")
    page.wait_for_selector(".score[data-state=known], .score[data-state='too few to tell']")
    page.wait_for_selector(".message", state="detached")
    page.wait_for_timeout(400)


def keep(page: Any, name: str, part: Any = None, full: bool = False) -> None:
    from PIL import Image

    path = PICTURES / f"serve-{name}.png"
    part.screenshot(path=path) if part else page.screenshot(path=path, full_page=full)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
