"""Forget pictures from labelled data sets on the hub, without a network: `load_dataset` is replaced."""

import sys

import datasets
import pytest
import torch
from huggingface_hub import errors
from PIL import Image

from vdu.catalog import TINY_IMAGENET
from vdu.cli import main
from vdu.data import hub_dataset
from vdu.errors import UserError
from vdu.page.settings import Settings
from vdu.recipe import Recipe
from vdu.sampling import run_to_end
from vdu.task import open_task

DIGITS = ["0 - zero", "1 - one", "2 - two", "3 - three", "4", "5", "6", "7", "8", "9"]
SHAPE = (3, 8, 8)


@pytest.fixture
def hub_has(monkeypatch):
    """Let every name on the hub be a data set; returns how to say which, and a list of the arguments it was asked with."""
    asked = []

    def put(pictures, labels, names, **columns):
        features = datasets.Features({"note": datasets.Value("string"), columns.get("image", "image"): datasets.Image(),
                                      columns.get("label", "label"): datasets.ClassLabel(names=names)})  # fmt: skip
        image, label = list(features)[1:]
        rows = {"note": ["x"] * len(labels), image: pictures, label: labels}
        whole = datasets.Dataset.from_dict(rows, features=features)

        def load(name, **how):
            asked.append((name, how))
            return whole.to_iterable_dataset()

        monkeypatch.setattr(datasets, "load_dataset", load)
        return asked

    monkeypatch.setattr(hub_dataset, "snapshot_download", lambda *_, **__: None)
    hub_dataset.STREAMED.clear()
    return put


def grey(level, size=(12, 8), mode="L"):
    return Image.new("RGB", size, (level,) * 3).convert(mode)


def levels(images):
    return images.float().mean((1, 2, 3)).round().int().tolist()


@pytest.mark.parametrize(
    ("name", "columns", "names", "wanted"),
    [
        ("ylecun/mnist", {}, DIGITS, "3"),
        ("uoft-cs/cifar10", {"image": "img"}, ["airplane", "dog", "cat", "Truck"], "truck"),
        ("zh-plus/tiny-imagenet", {}, ["n01443537", "n01629819", "n01641577", "n04146614"], "school_bus"),
        ("somebody/imagenet", {"label": "y"}, ["tench", "crane", "junco, snowbird", "School bus, yellow"], "school_bus"),
    ],
)
def test_the_pictures_of_a_class_are_picked_by_its_name(name, columns, names, wanted, hub_has):
    asked = hub_has([grey(10), grey(20), grey(30), grey(40), grey(50, mode="RGBA")], [0, 3, 1, 3, 3], names, **columns)
    images = run_to_end(hub_dataset.pictures(name, (wanted,), SHAPE)).images
    assert images.shape == (3, *SHAPE)
    assert images.dtype == torch.uint8
    assert levels(images) == [20, 40, 50]
    assert run_to_end(hub_dataset.pictures(name, (wanted,), SHAPE)).images is images
    assert asked == [(name, {"split": "train", "streaming": True})]


def test_pictures_are_seen_as_those_in_a_folder_are(hub_has, tmp_path):
    wide = Image.new("RGBA", (16, 8), (0, 0, 0, 0))
    wide.paste((200, 0, 0, 255), (4, 0, 8, 8))
    wide.save(tmp_path / "wide.png")
    hub_has([wide], [0], ["cat"])
    streamed, read = (run_to_end(hub_dataset.pictures(where, ("cat",), SHAPE)).images for where in ("a/b", str(tmp_path)))
    assert torch.equal(streamed, read)
    assert run_to_end(hub_dataset.stream_pictures("a/b", ("cat",), (1, 4, 4))).images.shape == (1, 1, 4, 4)


def test_a_picture_that_is_of_no_use_is_left_out_and_named(hub_has, monkeypatch):
    hub_has([grey(10), grey(20, size=(60, 50)), grey(30)], [3, 3, 3], DIGITS)
    monkeypatch.setattr("vdu.data.decoding.MOST_PIXELS", 2000)
    images, notes = run_to_end(hub_dataset.pictures("a/b", ("3",), SHAPE))
    assert levels(images) == [10, 30]
    assert [note for note in notes if "row 1" in note and "pixels" in note]
    hub_has([grey(20, size=(60, 50))], [3], DIGITS)
    with pytest.raises(UserError, match=r"no usable picture of 3 in its train split; .*row 0"):
        run_to_end(hub_dataset.pictures("a/c", ("3",), SHAPE))


def test_it_stops_at_the_first_of_a_class_and_takes_as_many_of_each(hub_has, monkeypatch):
    monkeypatch.setattr(hub_dataset, "MOST_PICTURES", 4)
    broken = {"bytes": b"no picture", "path": None}  # is not looked at: it comes after, or is of another class
    pictures = [grey(10), grey(20), broken, grey(30), grey(40), grey(50), broken]
    hub_has(pictures, [3, 3, 0, 3, 8, 8, 3], DIGITS)
    assert levels(run_to_end(hub_dataset.stream_pictures("a/b", ("3", "8"), SHAPE)).images) == [10, 40, 20, 50]
    hub_has(pictures[:-2], [3, 3, 0, 3, 8], DIGITS)
    assert levels(run_to_end(hub_dataset.stream_pictures("a/few", ("3", "8"), SHAPE)).images) == [10, 40]


def test_rows_of_other_classes_do_not_hold_others_up(hub_has):
    hub_has([grey(10)] * 250 + [grey(20)], [0] * 250 + [3], DIGITS)
    events = []
    images = run_to_end(hub_dataset.stream_pictures("a/b", ("3",), SHAPE), events.append).images
    assert levels(images) == [20]
    assert [(event.phase, event.done, event.total) for event in events] == [("pictures", 0, 500)] * 4


def test_the_pixels_of_a_data_set_are_bounded_in_all(hub_has, monkeypatch):
    hub_has([grey(10), grey(20)], [3, 3], DIGITS)
    monkeypatch.setattr(hub_dataset, "MOST_IN_ALL", 2 * 12 * 8 - 1)
    with pytest.raises(UserError, match="pixels in all; give fewer"):
        run_to_end(hub_dataset.stream_pictures("a/b", ("3",), SHAPE))


def test_several_classes_are_asked_for_by_what_the_concept_knows(hub_has):
    hub_has([grey(10), grey(20)], [8, 3], DIGITS)
    task = open_task(Recipe(forget="3 or 8", pictures="ylecun/mnist"))
    assert levels(task.forget_set().images) == [20, 10]
    assert set(hub_dataset.WORDNET.values()) == set(TINY_IMAGENET)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0], ["cat", "dog"], "'a/b' has no class 3; it has cat; dog"),
        ([0], [f"n{number}" for number in range(200)], "n29 and 170 more"),
        ([0], DIGITS, "'a/b' has no usable picture of 3 in its train split"),
    ],
)
def test_what_a_data_set_does_not_have_is_said(labels, names, message, hub_has):
    hub_has([grey(10)], labels, names)
    with pytest.raises(UserError, match=message):
        run_to_end(hub_dataset.pictures("a/b", ("3",), SHAPE))


def test_a_data_set_without_pictures_or_classes_is_refused(monkeypatch, hub_has):
    rows = datasets.Dataset.from_dict({"text": ["x"], "label": [0]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows.to_iterable_dataset())
    with pytest.raises(UserError, match=r"lacks a column of pictures \(Image\) or of their classes \(ClassLabel\)"):
        run_to_end(hub_dataset.pictures("a/b", ("3",), SHAPE))


def fail(error):
    def refuse(*_, **__):
        raise error

    return refuse


def test_what_cannot_be_read_is_one_sentence(monkeypatch, hub_has):
    hub_has([{"bytes": b"no picture", "path": None}], [3], DIGITS)
    with pytest.raises(UserError, match="could not be read as a data set of pictures: cannot identify"):
        run_to_end(hub_dataset.pictures("a/b", ("3",), SHAPE))
    for error in (RuntimeError("Dataset scripts are no longer supported\nbut"), ValueError("Bad split: train."),
                  datasets.exceptions.DatasetNotFoundError("gated"), ConnectionError("lost")):  # fmt: skip
        monkeypatch.setattr(datasets, "load_dataset", fail(error))
        with pytest.raises(UserError, match="could not be read as a data set of pictures") as caught:
            run_to_end(hub_dataset.pictures("a/b", ("3",), SHAPE))
        assert "\n" not in str(caught.value)


def test_without_the_package_or_a_network_there_is_one_clear_sentence(monkeypatch, hub_has, capsys):
    given = ["unlearn", "--model", "mnist-ddpm", "--forget", "3", "--pictures", "ylecun/mnist"]
    monkeypatch.setattr(hub_dataset, "snapshot_download", fail(errors.LocalEntryNotFoundError("offline")))
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "'ylecun/mnist' is not a folder here" in said
    assert "there is no network, or the hub did not answer. Give a folder of pictures." in said
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install datasets" in said


def test_the_page_takes_no_data_set(hub_has):
    with pytest.raises(UserError, match="use the command line"):
        Settings().check_allowed("mnist-ddpm", "", "ylecun/mnist")
