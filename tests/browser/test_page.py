"""The page as a person uses it, in Debian's Chromium."""

import json
import re

import pytest
from server_process import ROOT, Server

from teaching_page import (
    SCRIBBLE,
    STROKES,
    answer,
    ask,
    axe_source,
    begin,
    browser,
    examples,
    name_class,
    opened,
    serious,
    teach_drawings,
)

pytestmark = pytest.mark.browser
PAGE = ROOT / "src/mapwise/interfaces/server/page"
MARKUP = "<img src=x onerror=\"document.title='ran'\">"


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory, chromium):
    running = Server(tmp_path_factory.mktemp("folder")).wait()
    yield running
    running.end()


def test_a_task_is_taught_by_drawing_saved_and_there_after_a_restart(chromium, tmp_path):
    folder = tmp_path / "folder"
    server = Server(folder).wait()
    with opened(chromium, server, accept_downloads=True) as page:
        teach_drawings(page)
        queries = [(list(STROKES)[turn % 3], f"new {turn}") for turn in range(10)]
        before = [ask(page, STROKES[name], seed) for name, seed in queries]
        assert sum(given == name for given, (name, _) in zip(before, queries, strict=True)) >= 9, before
        page.wait_for_selector(".vote .share")
        assert page.locator(".fallen").count() == 1
        assert ask(page, SCRIBBLE) == "none of these"

        page.click("[data-key=rename]")
        page.fill("dialog input", "signs")
        page.keyboard.press("Enter")
        page.wait_for_selector("h1:text-is('signs')")
        with page.expect_download() as download:
            page.click("[data-key=save]")
        saved = tmp_path / "signs.safetensors"
        download.value.save_as(saved)
        before.append(ask(page, STROKES["cross"], "once more"))
        address = page.url
    server.end()

    again = Server(folder).wait()
    with opened(chromium, again) as page:
        page.goto(address.replace(server.address, again.address))
        page.wait_for_selector("h1:text-is('signs')")
        assert examples(page) == 12
        after = [ask(page, STROKES[name], seed) for name, seed in [*queries[:3], ("cross", "once more")]]
        assert after == [*before[:3], before[-1]]
        page.goto(f"{again.address}/")
        page.click("summary")
        page.set_input_files("details input[type=file]", saved)
        page.wait_for_selector(".predictor")
        assert ask(page, STROKES["plus"], "new 0") == before[0]
    again.end()


def test_a_class_of_texts_starts_from_its_name_alone(chromium, server):
    with opened(chromium, server) as page:
        begin(page, "texts")
        name_class(page, "cancel order")
        name_class(page, "refund money")
        page.fill("textarea", "please cancel my order")
        assert answer(page) == "cancel order"
        page.fill("textarea", "give me my money back")
        page.wait_for_selector(".bar.best[data-label='refund money']")
        page.click("[data-key='rename refund money']")
        page.fill("dialog input", "money back")
        page.keyboard.press("Enter")
        page.wait_for_selector(".bar[data-label='money back']")
        page.click("[data-key=undo]")
        page.wait_for_selector(".bar[data-label='refund money']")


def test_names_and_texts_with_markup_are_shown_and_never_run(chromium, server):
    with opened(chromium, server) as page:
        begin(page, "texts")
        name_class(page, MARKUP)
        name_class(page, "other things")
        page.fill("textarea", f"{MARKUP} hello")
        page.click(".chip >> nth=0")
        page.wait_for_selector(".class [data-example]")
        page.click("[data-key=rename]")
        page.fill("dialog input", MARKUP)
        page.keyboard.press("Enter")
        page.wait_for_function("name => document.querySelector('h1').textContent === name", arg=MARKUP)
        page.fill("textarea", "hello")
        page.wait_for_selector(".bar.best")
        assert page.locator(".class h3 >> nth=0").inner_text() == MARKUP
        page.click(".brand")
        page.wait_for_selector(".predictors li")
        assert page.locator("strong", has_text=MARKUP).count() >= 1
        assert page.title() == "mapwise"
        assert page.locator("img[src=x]").count() == 0


def test_the_list_of_predictors_has_its_name_before_it_is_read(chromium, server):
    source = axe_source()
    with opened(chromium, server) as page:
        page.route("**/v1/predictors?*", lambda route: None)
        page.reload()
        page.wait_for_selector(".choice")
        assert page.locator(".predictors").count() == 0
        assert serious(page, source) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium, server, scheme):
    source = axe_source()
    with opened(chromium, server, color_scheme=scheme) as page:
        assert serious(page, source) == []
        begin(page, "texts")
        assert serious(page, source) == []
        for name in ("cancel order", "refund money"):
            name_class(page, name)
        page.fill("textarea", "stop my order\nplease cancel it")
        page.click(".chip >> nth=0")
        page.wait_for_selector(".class [data-example]")
        page.fill("textarea", "cancel it")
        page.wait_for_selector(".vote")
        assert serious(page, source) == []
        page.click(".class [data-example] >> nth=0")
        assert serious(page, source) == []
        page.keyboard.press("Escape")
        page.click("#shortcuts")
        assert serious(page, source) == []
        page.keyboard.press("Escape")
        page.click("[data-way=drop]")
        assert serious(page, source) == []
        page.click(".brand")
        page.wait_for_selector(".predictors li")
        page.click("summary")
        assert serious(page, source) == []
        teach_drawings(page, shots=2)
        ask(page, STROKES["plus"], "new")
        page.wait_for_selector(".vote")
        page.wait_for_selector(".fallen")
        assert serious(page, source) == []
        page.set_viewport_size({"width": 360, "height": 740})
        assert serious(page, source) == []


def test_the_keyboard_alone_teaches_and_asks(chromium, server):
    def tab_to(selector):
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("what => document.activeElement.matches(what)", selector):
                return
        raise AssertionError(f"{selector} isn't reached by Tab")

    def stroke(*moves):
        page.keyboard.press(" ")
        for key in moves:
            for _ in range(4):
                page.keyboard.press(f"Shift+Arrow{key}")
        page.keyboard.press(" ")

    with opened(chromium, server) as page:
        tab_to(".choice[data-kind=drawings]")
        page.keyboard.press("Enter")
        page.wait_for_selector("canvas.paper")
        tab_to("canvas.paper")
        stroke("Right")
        page.keyboard.press("n")
        page.keyboard.type("line")
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-class=line] [data-example]")
        page.keyboard.press("Escape")
        tab_to("canvas.paper") if page.evaluate("document.activeElement.tagName") != "CANVAS" else None
        stroke("Left", "Up", "Left")
        page.keyboard.press("n")
        page.keyboard.type("hook")
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-class=hook] [data-example]")
        page.wait_for_selector(".bar.best")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Control+z")
        page.wait_for_function("() => !document.querySelector('[data-class=hook]')")


def test_a_phone_shows_everything_in_its_width(chromium, server):
    with opened(chromium, server, viewport={"width": 360, "height": 740}, has_touch=True, locale="zh-CN") as page:
        wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) == 0
        assert page.locator("html").get_attribute("lang") == "zh-CN"
        begin(page, "texts")
        name_class(page, "a-name-that-is-as-long-as-names-may-be-and-has-no-space-" * 3)
        assert page.evaluate(wide) == 0


def test_the_languages_have_the_same_words():
    words = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(PAGE.glob("words.*.json"))}
    assert len(words) >= 2
    keys = [list(one) for one in words.values()]
    assert all(one == keys[0] for one in keys)


def test_the_page_uses_every_word_and_no_other():
    words = json.loads((PAGE / "words.en.json").read_text(encoding="utf-8"))
    source = "\n".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.js"))
    used = re.findall(r'"([a-z]+(?:\.[a-z0-9-]+)*)"', source)
    starts = tuple(re.findall(r"`([a-z.]+\.)\$\{", source))
    assert [key for key in words if key not in used and not key.startswith(starts)] == []
    assert [key for key in re.findall(r'\bt\("([^"]+)"', source) if key not in words] == []
