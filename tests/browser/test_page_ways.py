"""Ways to show things to the page, and what it does when something is in the way."""

import pytest
from server_process import Server, files, httpx, png

from teaching_page import STROKES, answer, begin, browser, name_class, opened, sketch, teach_drawings

pytestmark = pytest.mark.browser
LETTERS = b"""text,label
please cancel it,cancel
stop my order,cancel
my money back,refund
refund me,refund
no label yet,
"""


@pytest.fixture(scope="module")
def chromium():
    with browser("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory, chromium):
    running = Server(tmp_path_factory.mktemp("folder")).wait()
    yield running
    running.end()


@pytest.fixture
def page(chromium, server):
    with opened(chromium, server) as page:
        yield page


def upload(page, *contents: tuple[str, str, bytes]):
    parts = [{"name": name, "mimeType": media, "buffer": content} for name, media, content in contents]
    page.set_input_files(".zone input >> nth=0", parts)


def wait_for_examples(page, count):
    page.wait_for_function("n => document.querySelectorAll('.class [data-example]').length === n", arg=count)


def test_a_table_of_texts_is_dropped_and_what_has_no_label_is_asked_for(page):
    begin(page, "texts")
    page.click("[data-way=drop]")
    upload(page, ("letters.csv", "text/csv", LETTERS))
    page.click(".batch .first")
    page.click("[data-key=add-labelled]")
    wait_for_examples(page, 4)
    assert page.locator(".suggestion blockquote").inner_text() == "no label yet"
    page.click("[data-key='next refund']")
    wait_for_examples(page, 5)
    page.wait_for_selector(".suggestion", state="detached")
    assert page.locator("[data-class=refund] [data-example]").count() == 3


def test_a_folder_of_pictures_brings_its_classes(page, tmp_path):
    begin(page, "drawings")
    page.click("[data-way=drop]")
    for kind, name in enumerate(("plus", "cross")):
        (tmp_path / "signs" / name).mkdir(parents=True)
        for seed in range(2):
            (tmp_path / "signs" / name / f"{seed}.png").write_bytes(png(kind, seed))
    page.set_input_files("input[webkitdirectory]", tmp_path / "signs")
    page.click("[data-key=add-labelled]")
    wait_for_examples(page, 4)
    upload(page, ("new.png", "image/png", png(1, 9)))
    assert answer(page) == "cross"
    upload(page, ("bad.png", "image/png", b"no picture"))
    page.wait_for_selector(".answer .verdict:has-text('is no picture')")


def test_the_points_of_the_map_are_reached_and_opened_by_keys(page):
    teach_drawings(page, 2)
    page.wait_for_selector(".map [role=button] >> nth=5")
    points = page.locator(".map [role=button]")
    assert points.count() == 6 and page.locator(".map [tabindex='0']").count() == 1
    names = {points.nth(place).get_attribute("aria-label").partition(":")[0] for place in range(6)}
    assert names == {"plus", "cross", "corner"}
    page.locator(".map [tabindex='0']").focus()
    reached = set()
    for key in 6 * ["ArrowLeft"] + 6 * ["ArrowUp"] + 6 * ["ArrowRight"] + 6 * ["ArrowDown"]:
        before = page.evaluate("[document.activeElement.dataset.x, document.activeElement.dataset.y].map(Number)")
        page.keyboard.press(key)
        after = page.evaluate("[document.activeElement.dataset.x, document.activeElement.dataset.y].map(Number)")
        axis, sign = {"Left": (0, -1), "Right": (0, 1), "Up": (1, -1), "Down": (1, 1)}[key.removeprefix("Arrow")]
        assert after == before or sign * (after[axis] - before[axis]) > 0, key
        reached.add(page.evaluate("document.activeElement.dataset.key"))
        assert page.locator(".map [tabindex='0']").count() == 1
    assert len(reached) >= 4 and all(key.startswith("point-") for key in reached)
    page.keyboard.press("Enter")
    page.wait_for_selector("#dialog[open]")


def test_a_file_that_is_dropped_anywhere_is_shown(page):
    begin(page, "texts")
    name_class(page, "cancel")
    drop = """selector => {
        const files = new DataTransfer();
        files.items.add(new File(["stop my order\\nplease cancel"], "new.txt", {type: "text/plain"}));
        const event = new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true});
        document.querySelector(selector).dispatchEvent(event);
    }"""
    page.evaluate(drop, "h1")
    page.wait_for_selector(".batch blockquote:has-text('please cancel')")
    page.evaluate(drop, ".class[data-class=cancel]")
    wait_for_examples(page, 2)


def test_rows_of_a_table_are_taught_and_typed(page):
    begin(page, "table")
    page.click("[data-way=drop]")
    rows = ["length,colour,kind", "1.5,red,short", "1.7,blue,short", "5.5,red,long", "6.1,blue,long"]
    upload(page, ("rows.csv", "text/csv", "\n".join(rows).encode()))
    page.click(".batch .first")
    page.click("[data-key=add-labelled]")
    wait_for_examples(page, 4)
    page.click("[data-way=row]")
    page.fill("[data-key='cell length']", "5.9")
    assert answer(page) == "long"


def test_two_windows_do_not_overwrite_one_another(chromium, server, page):
    begin(page, "texts")
    with opened(chromium, server) as other:
        other.goto(page.url)
        other.wait_for_selector(".predictor")
        name_class(other, "theirs")
        page.fill("[data-key=new-class]", "mine")
        page.press("[data-key=new-class]", "Enter")
        page.wait_for_selector(".message.bad:has-text('Someone else changed')")
        page.wait_for_selector(".class[data-class=theirs]")
        assert page.locator(".class").count() == 1
        page.press("[data-key=new-class]", "Enter")
        page.wait_for_selector(".class[data-class=mine]")


def test_an_answer_that_is_lost_on_the_way_changes_nothing_twice(page, server):
    begin(page, "texts")
    lost = []

    def lose(route):
        if not lost:
            lost.append(route.fetch().status)
            route.abort()
        else:
            route.continue_()

    page.route("**/examples", lose)
    page.fill("textarea", "please cancel it")
    name_class(page, "cancel")
    wait_for_examples(page, 1)
    id = page.url.rpartition("/")[2]
    card = httpx.get(f"{server.address}/v1/predictors/{id}").json()
    page.wait_for_selector(".message:has-text('1 example of cancel added')")
    assert lost == [201]
    assert (card["version"], card["examples"]) == (2, 1)


def test_what_takes_longer_than_half_a_second_says_so(page):
    begin(page, "texts")
    for name in ("cancel", "refund"):
        name_class(page, name)

    def delay(route):
        page.wait_for_timeout(1500)
        route.continue_()

    page.route("**/predict*", delay)
    page.fill("textarea", "cancel")
    page.wait_for_selector("#progress:not([hidden])")
    page.wait_for_selector(".bar.best")
    page.wait_for_selector("#progress", state="hidden")


def test_a_new_example_moves_the_bars_of_what_is_shown(page):
    begin(page, "texts")
    for name in ("animals", "money"):
        name_class(page, name)
    page.fill("textarea", "zorblat")
    page.wait_for_selector(".bar.best")
    share = ".bar[data-label=animals]"
    before = float(page.locator(share).get_attribute("data-share"))
    page.click(".chip[data-label=animals]")
    page.wait_for_function(
        "([selector, before]) => Number(document.querySelector(selector).dataset.share) > before", arg=[share, before]
    )


def test_a_finger_draws_and_a_stroke_is_undone(chromium, server):
    with opened(chromium, server, has_touch=True, viewport={"width": 390, "height": 800}) as page:
        begin(page, "drawings")
        box = page.locator("canvas.paper").bounding_box()
        touch = page.context.new_cdp_session(page)
        for kind, point in (("touchStart", (40, 60)), ("touchMove", (120, 160)), ("touchMove", (200, 220))):
            place = {"x": box["x"] + point[0], "y": box["y"] + point[1]}
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_selector(".queried img")
        sketch(page, STROKES["plus"][:1])
        page.click("[data-key=undo-stroke]")
        assert page.locator("[data-key=undo-stroke]").is_enabled()
        page.click("[data-key=undo-stroke]")
        page.wait_for_function("() => !document.querySelector('.queried img')")


def test_a_camera_gives_examples_and_is_off_when_it_is_left(page):
    begin(page, "pictures")
    page.click("[data-way=camera]")
    page.click("text=Turn on the camera")
    page.wait_for_selector(".queried img")
    name_class(page, "clock")
    wait_for_examples(page, 1)
    page.evaluate("() => { window.track = document.querySelector('video').srcObject.getTracks()[0]; }")
    page.click("[data-way=drop]")
    assert page.evaluate("() => window.track.readyState") == "ended"


def test_examples_that_look_mislabelled_are_marked_and_moved(page, server):
    id = httpx.post(f"{server.address}/v1/predictors", json={"name": "marks", "modality": "pictures"}).json()["id"]
    parts = files(*(png(kind, seed) for kind in range(2) for seed in range(5)), png(0, 77))
    labels = ["plus"] * 5 + ["cross"] * 6
    reply = httpx.post(f"{server.address}/v1/predictors/{id}/examples", files=parts, data={"labels": labels})
    wrong = reply.json()["added"][-1]["id"]
    page.goto(f"{server.address}/#/p/{id}")
    page.wait_for_selector(f".class[data-class=cross] .suspect[data-example='{wrong}']")
    page.click(f"[data-key='move {wrong}']")
    page.wait_for_selector(f".class[data-class=plus] [data-example='{wrong}']")


def test_a_server_with_a_token_asks_for_it_once(chromium, tmp_path):
    server = Server(tmp_path / "folder", "--token", "open sesame").wait()
    context = chromium.new_context(locale="en-US")
    page = context.new_page()
    page.goto(server.address)
    page.fill("dialog input", "open sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector(".choice")
    begin(page, "drawings")
    sketch(page, STROKES["plus"])
    name_class(page, "plus")
    page.wait_for_function("() => document.querySelector('.class img')?.naturalWidth > 0")
    context.close()
    server.end()
