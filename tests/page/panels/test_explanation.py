"""The explanation, and the chart in the middle of it."""

import json

from vdu.assets import ASSETS
from vdu.catalog import CATALOG
from vdu.page.panels.explanation import timesteps_html
from vdu.page.view import RunView

pytest_plugins = ["page_states"]


def test_the_chart_is_of_the_measurement_that_ships():
    entry = CATALOG["mnist-ddpm"]
    one, other = (timesteps_html(entry, window) for window in ((0, 999), (200, 500)))
    assert "<svg" in one
    assert "by timestep" in one
    assert one != other  # the window is marked
    assert all(0 <= row["same_class"] <= 1 for row in json.loads((entry.folder / "timesteps.json").read_text()))


def test_the_text_has_one_place_for_it_and_no_run_changes_it(panels):
    assert (ASSETS / "explanation.md").read_text().count("<!-- timesteps -->") == 1
    assert panels["Explanation"].render(RunView("3")) == {}
