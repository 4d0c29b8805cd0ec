"""A visit to the page before anything runs: what it shows, offers and refuses; and its API."""

import pytest
from conftest import LIGHT
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import expect
from visitor import choose, fill_recipe, fits, pick_model, press_unlearn, source, typed, upload, visit

pytest_plugins = ["browser"]

WIDTHS = {"desk": 1600, "phone": 390}  # CSS pixels


@pytest.fixture(scope="module")
def loaded(browser, address):
    """Gives the page of a visitor, loaded once in a wide or a narrow window. Most tests go on where the last one left it."""
    pages = {}

    def page_on(screen):
        if screen not in pages:
            pages[screen] = visit(browser, address, WIDTHS[screen])
        return pages[screen]

    yield page_on
    for page in pages.values():
        page.context.close()


@pytest.fixture
def page(loaded):
    """A page in a wide window on which nothing has been run, without messages."""
    page = loaded("desk")
    for close in reversed(page.locator(".toast-close").all()):
        close.click()
    expect(page.locator(".toast-close")).to_have_count(0)
    return page


@pytest.mark.parametrize("screen", WIDTHS)
def test_first_load_shows_an_example_and_fits(loaded, screen):
    page = loaded(screen)
    expect(page.locator("#headline")).to_contain_text("example")
    expect(page.locator("#before img")).to_be_visible()
    expect(page.locator("#after img")).to_be_visible()
    expect(page.locator("#shares svg")).to_be_visible()
    expect(page.locator("#curves svg").first).to_be_visible()
    assert source(page, "before") != source(page, "after")
    assert fits(page, WIDTHS[screen])


def test_samples_can_be_smooth_and_twice_as_large(loaded):
    page = loaded("phone")
    sheet = page.locator("#after .vdu-sheet")
    plain = sheet.bounding_box()["width"]
    page.get_by_text("Twice as large").click()
    expect(sheet).not_to_have_css("width", f"{plain}px")
    assert sheet.bounding_box()["width"] == pytest.approx(2 * plain, rel=0.02)
    assert fits(page, WIDTHS["phone"])
    page.get_by_text("Smooth pixels").click()
    expect(sheet).to_have_css("image-rendering", "auto")
    for look in ("Twice as large", "Smooth pixels"):
        page.get_by_text(look).click()
    expect(sheet).to_have_css("image-rendering", "pixelated")


def test_a_change_of_model_asks_for_nothing_that_is_not_on_offer(page):
    failed = []
    page.on("response", lambda answer: failed.append(answer.request.post_data) if answer.status >= 500 else None)
    for title, word in (("Garments in colours", "sneaker"), ("CIFAR-10 photographs", "frog"), ("MNIST digits", "7")):
        pick_model(page, title)
        expect(page.get_by_test_id(f"{word}-radio-label")).to_be_visible()
        expect(page.locator("#compared-time")).to_contain_text("in all")
    assert failed == []


def test_the_explanation_has_the_formulas_and_the_measurement(loaded):
    page = loaded("phone")
    page.get_by_text("What is happening here").click()
    expect(page.locator(".katex").first).to_be_visible()
    expect(page.locator(".vdu-chart svg")).to_be_visible()
    assert fits(page, WIDTHS["phone"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", -1, "Seed must be a whole number from 0 to 2,147,483,647, not -1."),
        ("seed", "", "Seed must be a whole number from 0 to 2,147,483,647, and nothing is given."),
        ("steps", 1.5, "Steps must be a whole number from 1 to 2,000, not 1.5."),
    ],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_runs(page, field, value, message):
    cell = page.locator(f"#recipe-{field} input")
    right = cell.input_value()
    fill_recipe(page, {field: value})
    press_unlearn(page)
    expect(page.locator("body")).to_contain_text(message)
    expect(page.locator("#headline")).to_contain_text("example")
    cell.fill(right)
    cell.press("Tab")


def test_a_message_shows_what_was_typed_as_it_was_typed(page):
    page.get_by_text("Several classes, or your own pictures").click()
    typed(page).fill("""<img src=x onerror="window.hit = 1"> <b>it's</b>""")
    press_unlearn(page)
    message = page.get_by_test_id("toast-text")
    expect(message).to_contain_text(
        """This cannot be run. mnist-ddpm has no class '<img src=x onerror="window.hit = 1"> <b>it's</b>'"""
    )
    expect(message.locator("img")).to_have_count(0)
    expect(page.locator(".toast-title")).not_to_be_visible()  # where Gradio says "Error"
    assert page.evaluate("window.hit") is None
    typed(page).fill("")


@pytest.mark.parametrize(
    ("model", "prompt", "message"),
    [
        ("Garments in colours", "red and blue", "'red and blue' is not one thing that tiny-sd draws"),
        ("Stable Diffusion 1.4", "a church [with a tower]", "needs a GPU, and this machine has none"),
    ],
)
def test_words_that_cannot_be_run_here_are_refused_in_one_sentence(page, model, prompt, message):
    pick_model(page, model)
    expect(typed(page)).to_be_visible()
    expect(page.locator("#keep")).to_be_visible()  # the answer to another model is there; nothing clears the words after it
    typed(page).fill(prompt)
    press_unlearn(page)
    expect(page.locator("body")).to_contain_text(message)
    expect(page.locator("#headline")).to_contain_text("example")
    expect(typed(page)).to_have_value(prompt)


def test_a_listed_model_without_words_is_asked_for_a_class(page):
    pick_model(page, "CIFAR-10, 35.7 M parameters")
    expect(page.get_by_test_id("frog-radio-label")).to_be_visible()
    expect(page.locator("#typed")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("Ready")
    choose(page, "frog")
    press_unlearn(page)
    expect(page.locator("body")).to_contain_text("could not be fetched from the hub: there is no network")
    expect(page.locator("#headline")).to_contain_text("example")


def test_uploaded_pictures_are_shown_as_the_model_will_see_them(page, tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "whole.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "whole.png").read_bytes()[:50])
    pick_model(page, "Stable Diffusion 1.4")
    expect(page.locator("#pictures")).to_be_visible()
    upload(page, [tmp_path / "whole.png", tmp_path / "broken.png"])
    expect(page.locator("#seen img")).to_have_attribute("alt", "the square centre of each picture")
    expect(page.locator("body")).to_contain_text("'broken.png' is left out")


def test_the_api_runs_a_recipe_and_returns_the_report(address):
    report = Client(address, verbose=False).predict("mnist-ddpm", "4", LIGHT, api_name="/unlearn")
    assert report["forget"] == "4"
    assert report["samples"] == 50
    assert report["after"]["forget_rate_ci95"][0] <= report["after"]["forget_rate"]


@pytest.mark.parametrize(
    ("model", "forget", "recipe", "message"),
    [
        ("mnist-ddpm", "3", {"forget_images": 0}, "Forget images must be a whole number from 1 to 500"),
        ("mnist-ddpm", "cat", {}, "no class 'cat'"),
        ("missing", "3", {}, "'missing' is not on offer here"),
        ("assets/mnist-ddpm", "3", {}, "'assets/mnist-ddpm' is not on offer here"),
        ("someone/model", "a church", {}, "'someone/model' is not on offer here"),
        ("tiny-sd", "red", {"judge": "/etc"}, "takes no judge or folder by name"),
        ("tiny-sd", "red", {"pictures": "/etc"}, "takes no judge or folder by name"),
        ("mnist-ddpm", "3", {"colour": "red"}, "no 'colour'"),
    ],
)
def test_the_api_refuses_bad_input_in_one_sentence(address, model, forget, recipe, message):
    with pytest.raises(AppError, match=message):
        Client(address, verbose=False).predict(model, forget, recipe, api_name="/unlearn")
