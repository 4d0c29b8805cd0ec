"""The bars of the class shares."""

from vdu.page.view import RunView, example_of

pytest_plugins = ["page_states"]


def test_bars_come_with_the_first_figures(panels):
    example, panel = example_of("mnist-ddpm"), panels["Results"]
    assert "<svg" in panel.render(RunView("3", report=example.report | {"after": None}))[panel.shares]
    assert "The bars appear once the untouched model is measured" in panel.render(RunView("3"))[panel.shares]
