"""The curves over the steps."""

from vdu.page.view import RunView, example_of

pytest_plugins = ["page_states"]


def test_they_are_drawn_once_a_step_is_taken(panels):
    panel, example = panels["Curves"], example_of("mnist-ddpm")
    assert "The curves appear after the first steps" in panel.render(RunView("3"))[panel.curves]
    step = {"step": 1, "plasticity": 0.5, "stability": 0.1}
    running = panel.render(RunView("3", steps=[step], previews=example.previews[:1]))[panel.curves]
    assert "<svg" in running
    assert running != panel.render(example)[panel.curves]
