"""The headline: what came of a run, or how far it is."""

import dataclasses

from vdu.page.panels.headline import headline_html
from vdu.page.view import RunView, example_of

pytest_plugins = ["page_states"]


def test_the_headline_says_what_is_the_visitors_own():
    example = example_of("mnist-ddpm")
    assert "This is a stored example" in headline_html(example)
    assert "This is a stored example" not in headline_html(dataclasses.replace(example, example=False))
    assert "u\u2011FID" in headline_html(example)  # a line never breaks inside the name
    running = dataclasses.replace(example, finished=False)
    first, last = example.previews[0], example.previews[-1]
    words = f"Forgetting 3 … the judge saw it in about {first['forget_rate']:.1%} of the samples at the start"
    now = f"and sees it in about {last['forget_rate']:.1%} after {last['step']} steps."
    assert f"{words}, {now}" in headline_html(running)
    assert f"{words}." in headline_html(dataclasses.replace(running, previews=example.previews[:1]))
    assert "Forgetting 3 …<" in headline_html(dataclasses.replace(running, previews=[]))


def test_it_says_what_was_scaled():
    example = example_of("mnist-ddpm")
    for optimizer, changed in (("adam", "the change of the weights"), ("guidance", "the guidance")):
        report = example.report | {"scale": 1.25, "recipe": example.report["recipe"] | {"optimizer": optimizer}}
        assert f"Then {changed} was scaled by 1.25." in headline_html(dataclasses.replace(example, report=report))


def test_it_is_all_that_the_panel_changes(panels):
    (update,) = panels["Headline"].render(RunView("<3>")).values()
    assert "Forgetting &lt;3&gt; …" in update
