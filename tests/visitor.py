"""Actions of a visitor on the page, in a browser."""

from contextlib import suppress

from playwright.sync_api import Page, expect

LONG = 180_000  # ms that anything may take, a run too, on a slow and busy machine
SETTLED = 400  # ms for which the fields must hold what was typed
ACCORDIONS = ("Method settings", "Sampling", "Expert")
expect.set_options(timeout=LONG)


def visit(browser, address, width=1600, **recipe) -> Page:
    """A new visitor's page, with some fields of the recipe filled in."""
    page = browser.new_context(viewport={"width": width, "height": 1000}, accept_downloads=True).new_page()
    page.set_default_timeout(LONG)
    page.goto(address)
    expect(page.locator("#headline")).to_contain_text("The model drew a")
    if recipe:
        fill_recipe(page, recipe)
    return page


def fill_recipe(page: Page, recipe) -> None:
    """Open all accordions of the recipe, and fill in fields, again if they are set back, as happens while these open."""
    for title in ACCORDIONS:
        button = page.locator("button.label-wrap", has_text=title)
        if "open" not in button.get_attribute("class").split():
            button.click()
    wanted = {name: str(value) for name, value in recipe.items()}
    fields = {name: page.locator(f"#recipe-{name} input") for name in wanted}
    for _ in range(20):
        for name, value in wanted.items():
            if fields[name].input_value() != value:
                fields[name].fill(value)
                fields[name].press("Tab")
        page.wait_for_timeout(SETTLED)
        if all(fields[name].input_value() == value for name, value in wanted.items()):
            return
    raise AssertionError(f"the fields do not keep {wanted}")


def choose(page: Page, name: str) -> None:
    """Choose the class to forget."""
    page.get_by_test_id(f"{name}-radio-label").click()


def pick_model(page: Page, title: str) -> None:
    """Choose a model, and wait for the server's answer."""
    page.get_by_label("Model", exact=True).first.click()
    with page.expect_response(lambda response: "/run/predict" in response.url):
        page.get_by_role("option", name=title).click()


def upload(page: Page, files) -> None:
    """Upload pictures, again if the field is emptied, as happens while the page still changes to another model."""
    for _ in range(5):
        page.locator("#pictures input[type=file]").set_input_files(files)
        with suppress(AssertionError):
            expect(page.locator("#seen")).to_be_visible(timeout=LONG / 6)
            page.wait_for_timeout(SETTLED)
            expect(page.locator("#seen")).to_be_visible(timeout=SETTLED)
            return
    raise AssertionError("the page does not keep the pictures")


def press_unlearn(page: Page) -> None:
    page.get_by_role("button", name="Unlearn", exact=True).click()


def typed(page: Page):
    """The text field for what to forget."""
    return page.locator("#typed textarea, #typed input")


def source(page: Page, sheet: str) -> str:
    """The picture that a sheet shows."""
    return page.locator(f"#{sheet} img").get_attribute("src")


def fits(page: Page, width: int) -> bool:
    """Whether the page fits the width of the window."""
    return page.evaluate("document.documentElement.scrollWidth") <= width
