"""Runs on the page in a real browser, from the click to the downloads."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from conftest import LIGHT
from diffusers import DDPMPipeline
from playwright.sync_api import Page, expect
from visitor import choose, fill_recipe, fits, pick_model, press_unlearn, source, typed, visit

from vdu.page.panels.who_pays import MOST_PAIRS
from vdu.summary import with_article

pytest_plugins = ["browser"]


TWO = LIGHT | {"steps": 2}
SPAN = """() => {
  const cells = [...document.querySelectorAll("#table :is(th, td, small)")].map(one => one.getBoundingClientRect());
  return [Math.min(...cells.map(cell => cell.left)), Math.max(...cells.map(cell => cell.right))];
}"""  # left and right end of the table of figures, in CSS pixels
LOWEST_LETTERS = """() => Math.min(...[...document.querySelectorAll("#shares text")].map(
  one => one.getBoundingClientRect().height))"""  # height of a chart's smallest line of text, in CSS pixels


@pytest.fixture(scope="module")
def first(browser, address):
    """A visitor's page, on which each test goes on where the last one left it."""
    page = visit(browser, address)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def second(browser, address):
    """The page of another visitor."""
    page = visit(browser, address)
    yield page
    page.context.close()


def download(page: Page, words: str) -> tuple[str, Path]:
    """Press a download button by a part of its words; the name the file is offered under, and where it is."""
    with page.expect_download() as waiting:
        page.get_by_text(words).click()
    return waiting.value.suggested_filename, Path(waiting.value.path())


def click_a_number(page: Page) -> None:
    """Click on a number of who pays: it shows as many pairs, on a narrow screen too."""
    page.set_viewport_size({"width": 390, "height": 1000})
    expect(page.locator("#who-pays")).to_contain_text(re.compile(r"\d+ of \d+ kept seeds changed their digit"))
    number = page.locator("#who-pays button.stays").first
    number.click()
    expect(page.locator("#pairs img")).to_have_count(min(MOST_PAIRS, int(number.inner_text())))
    expect(number).to_have_attribute("aria-pressed", "true")
    assert fits(page, 390)


def read_the_figures(page: Page) -> None:
    """On a phone, which cannot hover, every row of the figures says what it means, and the table keeps to its column."""
    page.set_viewport_size({"width": 390, "height": 1000})
    meanings = page.locator("#table .vdu-meaning")
    expect(meanings).to_have_count(page.locator("#table tbody tr").count())
    expect(meanings.filter(has_text="share of samples in which the judge sees what the model must forget")).to_be_visible()
    left, right = page.evaluate(SPAN)
    assert 0 <= left < right <= 390 - left
    assert page.evaluate(LOWEST_LETTERS) > 12


def compare_methods(page: Page) -> None:
    """Compare the run that is done with another method; a click on a head sorts the table, on a narrow screen too."""
    methods, rows = page.locator("#compared-methods"), page.locator("#compared tbody.methods tr")
    for label in methods.locator("label").all():
        label.locator("input").set_checked(label.inner_text().strip() in ("vdu-f", "neggrad"))
    expect(page.locator("#compared-time")).to_contain_text("Finished already: vdu-f.")
    page.locator("#compare").click()
    expect(page.locator("#compared-line")).to_contain_text("Done")
    expect(rows).to_have_count(2)
    expect(page.locator("#compare-stop")).to_be_hidden()
    head = page.locator("#compared thead").get_by_role("button", name="Method")
    for order in ("ascending", "descending"):
        head.click()
        expect(page.locator("#compared th[aria-sort]")).to_have_attribute("aria-sort", order)
        names = [name.split("\n")[0] for name in rows.locator("th").all_inner_texts()]
        assert names == sorted(["vdu-f", "neggrad"], reverse=order == "descending")
    assert fits(page, 390)
    name, path = download(page, "Download results.csv")
    assert (name, path.read_text().splitlines()[1].split(",")[0]) == ("results.csv", "vdu-f")


def test_how_many_pictures_it_takes(first):
    page = first
    fill_recipe(page, LIGHT)
    page.get_by_text("How many pictures does it take?").click()
    page.get_by_role("button", name="Try 1, 4, 16").click()
    expect(page.locator("#counts .vdu-strip")).to_have_count(6)
    expect(page.locator("#counts svg")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("Done")
    expect(page.locator("#headline")).to_contain_text("example")


def test_one_digit_after_another_and_two_at_once(first):
    page = first
    fill_recipe(page, LIGHT)
    go_on = page.locator("#go-on input")
    expect(go_on).to_be_hidden()
    press_unlearn(page)
    expect(page.locator("#headline")).not_to_contain_text("example")
    expect(page.locator("#status")).to_contain_text("Done")
    without_3 = source(page, "after")
    page.get_by_text("Several classes, or").click()
    typed(page).fill("8, 9")
    go_on.check()
    press_unlearn(page)
    expect(page.locator("#headline")).to_contain_text("The model drew an 8 or 9")
    expect(page.locator("#headline")).to_contain_text("Forgotten before: 3, now in")
    expect(page.locator("#status")).to_contain_text("Done")
    assert source(page, "before") != without_3  # other seeds come first: those that drew an 8 or a 9
    assert download(page, "Unlearned model (")[0] == "mnist-ddpm-without-3-8-or-9.zip"
    report = json.loads(download(page, "Report (")[1].read_text())
    assert (report["model"], report["forgotten"]) == ("mnist-ddpm", ["3", "8 or 9"])
    assert [recipe["forget"] for recipe in report["earlier"]] == ["3"]
    typed(page).fill("0, 1, 2, 4, 5, 6, 7")
    press_unlearn(page)
    expect(page.locator("body")).to_contain_text("nothing would be left")
    typed(page).fill("")
    go_on.uncheck()


def test_a_run_from_click_to_downloads(second):
    page = second
    fill_recipe(page, TWO)
    expect(page.locator("#who-pays")).to_contain_text("The stored example has no samples")
    choose(page, "7")
    example = source(page, "after")
    press_unlearn(page)
    expect(page.locator("#headline")).to_contain_text("The model drew a 7")
    expect(page.locator("#headline")).not_to_contain_text("example")
    expect(page.locator("#status")).to_contain_text("Done")
    final = source(page, "after")
    assert final != example

    slider = page.locator("#snapshot input[type=number]")
    slider.fill("0")
    slider.press("Enter")
    expect(page.locator("#when")).to_contain_text("Before any step")
    assert source(page, "after") == source(page, "before")
    slider.fill("2")
    slider.press("Enter")
    expect(page.locator("#when")).to_contain_text("After 2 steps")
    assert source(page, "after") == final

    distance = page.locator("#distance input[type=number]")
    distance.fill("0")
    distance.press("Enter")
    expect(page.locator("#when")).to_contain_text("0.0 × the change")
    assert source(page, "after") == source(page, "before")

    report = json.loads(download(page, "Report (")[1].read_text())
    assert report["forget"] == "7"
    assert report["recipe"]["steps"] == 2
    assert download(page, "Picture sheet (")[1].read_bytes().startswith(b"\x89PNG")
    _, model = download(page, "Unlearned model (")
    unpacked = model.parent / "unpacked"
    with zipfile.ZipFile(model) as archive:
        archive.extractall(unpacked)
    DDPMPipeline.from_pretrained(next(unpacked.iterdir()), use_safetensors=True)
    click_a_number(page)
    read_the_figures(page)
    compare_methods(page)


def test_stop_keeps_what_there_is(second):
    page = second
    fill_recipe(page, LIGHT | {"steps": 2000, "preview_every": 10})
    choose(page, "3")
    press_unlearn(page)
    expect(page.locator("#headline")).to_contain_text(re.compile(r"Forgetting 3 .* after \d+ steps"))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped")
    expect(page.locator("#headline")).to_contain_text("Stopped at step")
    report = json.loads(download(page, "Report (")[1].read_text())
    assert report["stopped_because"] == "stopped by the user"
    assert 2 <= report["steps_taken"] < 2000


def test_two_visitors_do_not_see_each_others_runs(first, second):
    digits, pages = ("1", "8"), (first, second)
    for page in pages:
        fill_recipe(page, LIGHT)
    shown = source(second, "after"), second.locator("#headline").inner_text()
    for page, digit in zip(pages, digits, strict=True):
        choose(page, digit)
    press_unlearn(first)
    expect(first.locator("#headline")).to_contain_text("Forgetting 1")
    assert (source(second, "after"), second.locator("#headline").inner_text()) == shown
    press_unlearn(second)
    for page, digit in zip(pages, digits, strict=True):
        expect(page.locator("#status")).to_contain_text("Done")
        expect(page.locator("#headline")).to_contain_text(f"The model drew {with_article(digit)} in")
    assert source(first, "after") != source(second, "after")


def test_a_word_is_forgotten_and_any_prompt_can_be_tried(browser, address):
    page = visit(browser, address, 390)
    pick_model(page, "Garments in colours")
    expect(page.locator("#headline")).to_contain_text("Asked for “red”")
    expect(page.locator("#headline")).to_contain_text("example")
    expect(page.locator("#prompt textarea")).to_be_visible()
    assert fits(page, 390)
    fill_recipe(page, LIGHT)
    expect(page.locator("#recipe-step_size input")).to_have_value("0.002")
    expect(page.locator("#recipe-guidance")).to_be_visible()
    typed(page).fill("a crimson trainer")
    page.locator("#keep textarea").fill("a blue sneaker\na red bag")
    press_unlearn(page)
    expect(page.locator("#status")).to_contain_text("Done")
    expect(page.locator("#headline")).to_contain_text("Asked for “red sneaker”")
    expect(page.locator("#table")).to_contain_text("IRA")
    prompt = page.locator("#prompt textarea")
    prompt.fill("crimson trainer")
    prompt.press("Enter")
    expect(page.locator("#answer")).to_contain_text("crimson trainer")
    expect(page.locator("#answer img")).to_have_count(2)
    assert fits(page, 390)
    page.context.close()
