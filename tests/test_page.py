"""The page in a real browser, and its API through the client."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
from conftest import QUICK
from diffusers import DDPMPipeline
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from vdu.report import with_article

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update")  # fmt: skip
LONG = 180_000  # ms a run may take on a slow and busy machine
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def address():
    """The app, started as the README says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=environment)
    url = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, "the app did not start"
            time.sleep(0.5)
    yield url
    server.terminate()
    server.wait(timeout=20)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


def visit(browser, address, width=1600, **recipe) -> Page:
    """A new visitor's page, with the fields under "Everything else" filled in."""
    page = browser.new_context(viewport={"width": width, "height": 1000}, accept_downloads=True).new_page()
    page.goto(address)
    expect(page.locator("#headline")).to_contain_text("The model drew a", timeout=LONG)
    if recipe:
        page.get_by_text("Everything else").click()
        page.wait_for_timeout(1000)  # fields that are filled while the accordion opens are set back
        for name, value in recipe.items():
            field = page.locator(f"#recipe-{name} input")
            field.fill(str(value))
            field.press("Tab")
    return page


def choose(page: Page, digit: str) -> None:
    page.get_by_test_id(f"{digit}-radio-label").click()


def choose_model(page: Page, title: str) -> None:
    page.get_by_label("Model", exact=True).first.click()
    page.get_by_role("option", name=title).click()
    expect(page.locator("#typed textarea, #typed input")).to_be_visible()


def source(page: Page, sheet: str) -> str:
    return page.locator(f"#{sheet} img").get_attribute("src")


def test_the_explanation_has_the_formulas_and_the_measurement(browser, address):
    page = visit(browser, address, 390)
    page.get_by_text("What is happening here").click()
    expect(page.locator(".katex").first).to_be_visible()
    expect(page.locator(".vdu-chart svg")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


@pytest.mark.parametrize("width", [1600, 390])
def test_first_load_shows_an_example_and_fits(browser, address, width):
    page = visit(browser, address, width)
    expect(page.locator("#headline")).to_contain_text("example")
    expect(page.locator("#before img")).to_be_visible()
    expect(page.locator("#after img")).to_be_visible()
    expect(page.locator("#shares svg")).to_be_visible()
    expect(page.locator("#curves svg").first).to_be_visible()
    assert source(page, "before") != source(page, "after")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()


def test_a_run_from_click_to_downloads(browser, address):
    page = visit(browser, address, **QUICK)
    choose(page, "7")
    example = source(page, "after")
    page.get_by_role("button", name="Unlearn", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Done", timeout=LONG)
    expect(page.locator("#headline")).to_contain_text("The model drew a 7")
    expect(page.locator("#headline")).not_to_contain_text("example")
    assert source(page, "after") != example
    final = source(page, "after")

    slider = page.locator("#snapshot input[type=number]")
    slider.fill("0")
    slider.press("Enter")
    expect(page.locator("#when")).to_contain_text("Before any step")
    assert source(page, "after") == source(page, "before")
    slider.fill("4")
    slider.press("Enter")
    expect(page.locator("#when")).to_contain_text("After 4 steps")
    assert source(page, "after") == final

    distance = page.locator("#distance input[type=number]")
    distance.fill("0")
    distance.press("Enter")
    expect(page.locator("#when")).to_contain_text("0.0 × as far", timeout=LONG)
    assert source(page, "after") == source(page, "before")

    files = {}
    for name in ("Report", "Picture sheet", "Unlearned model"):
        with page.expect_download() as waiting:
            page.get_by_text(f"{name} (").click()
        files[name] = Path(waiting.value.path())
    report = json.loads(files["Report"].read_text())
    assert report["forget"] == "7"
    assert report["recipe"]["steps"] == 4
    unpacked = files["Unlearned model"].parent / "unpacked"
    with zipfile.ZipFile(files["Unlearned model"]) as archive:
        archive.extractall(unpacked)
    DDPMPipeline.from_pretrained(next(unpacked.iterdir()), use_safetensors=True)
    page.context.close()


def test_one_digit_after_another_and_two_at_once(browser, address):
    page = visit(browser, address, **QUICK)
    go_on, unlearn = page.locator("#go-on input"), page.get_by_role("button", name="Unlearn", exact=True)
    expect(go_on).to_be_hidden()
    unlearn.click()
    expect(page.locator("#status")).to_contain_text("Done", timeout=LONG)
    first = source(page, "after")
    page.get_by_text("Several at once").click()
    page.locator("#typed textarea, #typed input").fill("8, 9")
    go_on.check()
    unlearn.click()
    expect(page.locator("#headline")).to_contain_text("The model drew an 8 or 9", timeout=LONG)
    expect(page.locator("#headline")).to_contain_text("Forgotten before: 3, now in")
    expect(page.locator("#status")).to_contain_text("Done", timeout=LONG)
    assert source(page, "before") != first  # other seeds come first: those that drew an 8 or a 9
    with page.expect_download() as waiting:
        page.get_by_text("Unlearned model (").click()
    assert waiting.value.suggested_filename == "mnist-ddpm-without-3-8-or-9.zip"
    with page.expect_download() as waiting:
        page.get_by_text("Report (").click()
    report = json.loads(Path(waiting.value.path()).read_text())
    assert (report["model"], report["forgotten"]) == ("mnist-ddpm", ["3", "8 or 9"])
    assert [recipe["forget"] for recipe in report["earlier"]] == ["3"]
    page.locator("#typed textarea, #typed input").fill("0, 1, 2, 4, 5, 6, 7")
    unlearn.click()
    expect(page.locator("body")).to_contain_text("nothing would be left")
    page.context.close()


def test_how_many_pictures_it_takes(browser, address):
    page = visit(browser, address, **QUICK)
    page.get_by_text("How many pictures does it take?").click()
    page.get_by_role("button", name="Try 1, 4, 16").click()
    expect(page.locator("#counts .vdu-strip")).to_have_count(6, timeout=LONG)
    expect(page.locator("#counts svg")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("Done")
    expect(page.locator("#headline")).to_contain_text("example")
    page.context.close()


def test_a_word_is_forgotten_and_any_prompt_can_be_tried(browser, address):
    page = visit(browser, address, 390)
    choose_model(page, "Garments in colours")
    expect(page.locator("#headline")).to_contain_text("Asked for “red”")
    expect(page.locator("#headline")).to_contain_text("example")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_text("Everything else").click()
    page.wait_for_timeout(1000)
    assert page.locator("#recipe-step_size input").input_value() == "0.002"
    for name, value in QUICK.items():
        page.locator(f"#recipe-{name} input").fill(str(value))
        page.locator(f"#recipe-{name} input").press("Tab")
    page.locator("#typed textarea, #typed input").fill("a crimson trainer")
    page.locator("#keep textarea").fill("a blue sneaker\na red bag")
    page.get_by_role("button", name="Unlearn", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Done", timeout=LONG)
    expect(page.locator("#headline")).to_contain_text("Asked for “red sneaker”")
    expect(page.locator("#table")).to_contain_text("IRA")
    prompt = page.locator("#prompt textarea")
    prompt.fill("crimson trainer")
    prompt.press("Enter")
    expect(page.locator("#answer")).to_contain_text("crimson trainer", timeout=LONG)
    expect(page.locator("#answer img")).to_have_count(2)
    page.context.close()


@pytest.mark.parametrize(
    ("model", "typed", "message"),
    [
        ("Garments in colours", "red and blue", "'red and blue' is not one thing that tiny-sd draws"),
        ("Stable Diffusion 1.4", "a church [with a tower]", "needs a GPU, and there is none here"),
    ],
)
def test_words_that_cannot_be_run_here_are_refused_in_one_sentence(browser, address, model, typed, message):
    page = visit(browser, address)
    choose_model(page, model)
    page.locator("#typed textarea, #typed input").fill(typed)
    page.wait_for_timeout(1000)  # in which nothing takes the words away again
    page.get_by_role("button", name="Unlearn", exact=True).click()
    expect(page.locator("body")).to_contain_text(message)
    expect(page.locator("#headline")).to_contain_text("example")
    page.context.close()


def test_a_listed_model_without_words_is_asked_for_a_class(browser, address):
    page = visit(browser, address)
    page.get_by_label("Model", exact=True).first.click()
    page.get_by_role("option", name="CIFAR-10, 35.7 M parameters").click()
    expect(page.get_by_test_id("frog-radio-label")).to_be_visible()
    expect(page.locator("#typed")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("Ready")
    choose(page, "frog")
    page.get_by_role("button", name="Unlearn", exact=True).click()
    expect(page.locator("body")).to_contain_text("could not be fetched from the hub: there is no network")
    page.context.close()


def test_uploaded_pictures_are_shown_as_the_model_will_see_them(browser, address, tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "whole.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "whole.png").read_bytes()[:50])
    page = visit(browser, address)
    choose_model(page, "Stable Diffusion 1.4")
    expect(page.locator("#pictures")).to_be_visible()
    page.locator("#pictures input[type=file]").set_input_files([tmp_path / "whole.png", tmp_path / "broken.png"])
    expect(page.locator("#seen img")).to_have_attribute("alt", "the centre of each picture, square")
    expect(page.locator("body")).to_contain_text("'broken.png' is left out")
    page.context.close()


def test_stop_keeps_what_there_is(browser, address):
    page = visit(browser, address, **QUICK | {"steps": 2000})
    page.get_by_role("button", name="Unlearn", exact=True).click()
    expect(page.locator("#headline")).to_contain_text(re.compile(r"Forgetting 3 .* after \d+ steps"), timeout=LONG)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped", timeout=LONG)
    expect(page.locator("#headline")).to_contain_text("Stopped at step")
    with page.expect_download() as waiting:
        page.get_by_text("Report (").click()
    report = json.loads(Path(waiting.value.path()).read_text())
    assert report["stopped_because"] == "stopped by the user"
    assert 2 <= report["steps_taken"] < 2000
    page.context.close()


def test_two_visitors_do_not_see_each_others_runs(browser, address):
    first, second = (visit(browser, address, **QUICK) for _ in range(2))
    untouched = source(second, "after")
    choose(first, "1")
    first.get_by_role("button", name="Unlearn", exact=True).click()
    choose(second, "8")
    expect(first.locator("#status")).to_contain_text("Done", timeout=LONG)
    assert source(second, "after") == untouched
    expect(second.locator("#headline")).to_contain_text("example")
    for page in (first, second):
        page.get_by_role("button", name="Unlearn", exact=True).click()
    for page, digit in ((first, "1"), (second, "8")):
        expect(page.locator("#status")).to_contain_text("Done", timeout=LONG)
        expect(page.locator("#headline")).to_contain_text(f"The model drew {with_article(digit)} in", timeout=LONG)
    assert source(first, "after") != source(second, "after")
    for page in (first, second):
        page.context.close()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("seed", -1, "Seed must be a whole number from 0"), ("steps", 1_000_000, "Steps must be a whole number from 1 to 2,000")],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_runs(browser, address, field, value, message):
    page = visit(browser, address, **{field: value})
    page.get_by_role("button", name="Unlearn", exact=True).click()
    expect(page.locator("body")).to_contain_text(message)
    expect(page.locator("#headline")).to_contain_text("example")
    page.context.close()


def test_the_api_runs_a_recipe_and_returns_the_report(address):
    client = Client(address, verbose=False)
    report = client.predict("mnist-ddpm", "4", QUICK, api_name="/unlearn")
    assert report["forget"] == "4"
    assert report["samples"] == 50
    assert report["after"]["forget_rate_ci95"][0] <= report["after"]["forget_rate"]


@pytest.mark.parametrize(
    ("model", "forget", "recipe", "message"),
    [
        ("mnist-ddpm", "3", {"forget_images": 0}, "Forget images must be a whole number from 1 to 500"),
        ("mnist-ddpm", "cat", {}, "no class 'cat'"),
        ("missing", "3", {}, "no model 'missing'"),
        ("assets/mnist-ddpm", "3", {}, "no model 'assets/mnist-ddpm'"),
        ("someone/model", "a church", {}, "no model 'someone/model'"),
        ("tiny-sd", "red", {"judge": "/etc"}, "only on the command line"),
        ("tiny-sd", "red", {"pictures": "/etc"}, "only on the command line"),
        ("mnist-ddpm", "3", {"colour": "red"}, "no 'colour'"),
    ],
)
def test_the_api_refuses_bad_input_in_one_sentence(address, model, forget, recipe, message):
    with pytest.raises(AppError, match=message):
        Client(address, verbose=False).predict(model, forget, recipe, api_name="/unlearn")
