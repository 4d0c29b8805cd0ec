"""Uploads: previews that many visitors ask for at once, and the links that a run reads."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from PIL import Image

from vdu.data import decoding, pictures
from vdu.data.levels import pixels_of
from vdu.data.pictures import MOST_PICTURES, read_pictures
from vdu.page import uploads
from vdu.page.uploads import MOST_SHOWN, Preview, save_uploads, uploads_html
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.sampling import run_to_end
from vdu.task import open_task

pytestmark = pytest.mark.own_loop

ANN, BEN = (SimpleNamespace(session_hash=name) for name in ("ann", "ben"))
MODEL = "mnist-ddpm"


@pytest.fixture
def files(tmp_path):
    """Five uploads, each in a folder of its own, as Gradio keeps them."""
    return [str(picture(tmp_path, number)) for number in range(5)]


def picture(folder, number, name="same name.png"):
    """A picture like no other of another number."""
    path = folder / str(number) / name
    path.parent.mkdir()
    Image.linear_gradient("L").resize((30, 30)).rotate(20 * number + 1).save(path)
    return path


@pytest.fixture
def decoded(monkeypatch):
    """What was decoded, in order, with the thread that did it; `before` is called before each."""
    calls = SimpleNamespace(threads=[], before=lambda: None)

    def count(*given):
        calls.before()
        calls.threads.append(threading.current_thread().name)
        return pixels_of(*given)

    monkeypatch.setattr(decoding, "pixels_of", count)
    return calls


def test_a_preview_and_the_run_after_it_decode_each_picture_once(files, decoded, tmp_path):
    shown = asyncio.run(Preview().show(files, MODEL, ANN))
    assert shown["visible"]
    assert "5 pictures, as the model will see them" in shown["value"]
    assert len(decoded.threads) == 5
    assert {name.startswith("pictures") for name in decoded.threads} == {True}
    recipe = Recipe(model=MODEL, forget="3", pictures=save_uploads(files, tmp_path / "run"))
    assert len(open_task(recipe).forget_set().images) == 5
    assert len(decoded.threads) == 5


def test_a_run_is_opened_without_reading_and_yields_before_each_picture(files, decoded, tmp_path):
    given = {"pictures": save_uploads(files, tmp_path / "run"), "forget_source": "real"}
    run = Run(Recipe(model=MODEL, forget="3", **given))
    assert decoded.threads == []
    for number, event in enumerate(run.task.read_pictures()):
        assert (event.phase, event.done, event.total) == ("pictures", number, 5)
        assert len(decoded.threads) == number
    assert len(decoded.threads) == 5


def test_a_reading_that_is_closed_decodes_no_more(files, decoded, tmp_path):
    reading = read_pictures(tmp_path / save_uploads(files, tmp_path / "run"), (1, 28, 28))
    next(reading)
    next(reading)
    reading.close()
    assert len(decoded.threads) == 1


def test_other_files_end_the_preview_of_those_before(files, decoded, tmp_path):
    preview, other = Preview(), [str(picture(tmp_path, 7))]
    begun, go_on = threading.Event(), threading.Event()
    decoded.before = lambda: (begun.set(), go_on.wait(10))

    async def pick_others():
        first = asyncio.create_task(preview.show(files, MODEL, ANN))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        second = asyncio.create_task(preview.show(other, MODEL, ANN))
        await asyncio.sleep(0.01)
        go_on.set()
        return await asyncio.gather(first, second)

    first, second = asyncio.run(pick_others())
    assert "value" not in first  # the page stays as it is
    assert "1 picture, as" in second["value"]
    assert len(decoded.threads) == 2  # the one that was under way, and the other file
    assert preview.latest == {}


def test_visitors_are_served_in_turn_one_picture_at_a_time(files, decoded, tmp_path):
    others, inside = [str(picture(tmp_path, 10 + number)) for number in range(2)], []

    def one_at_a_time():
        inside.append(True)
        assert len(inside) == 1
        inside.pop()

    decoded.before = one_at_a_time
    preview, finished = Preview(), []

    async def show(files, request):
        result = await preview.show(files, MODEL, request)
        finished.append(request)
        return result

    async def both():
        return await asyncio.gather(show(files, ANN), show(others, BEN))

    ann, ben = asyncio.run(both())
    assert "5 pictures" in ann["value"]
    assert "2 pictures" in ben["value"]
    assert finished == [BEN, ANN]  # who has few does not wait for who has many


@pytest.mark.parametrize(
    ("count", "limit", "sentence"),
    [(MOST_PICTURES + 1, 10**9, "You gave 501 pictures; give at most 500."), (1, 899, "million pixels in all; give fewer")],
)
def test_what_is_refused_is_said_in_place(count, limit, sentence, files, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_IN_ALL", limit)
    shown = asyncio.run(Preview().show(files[:1] * count, MODEL, ANN))
    assert shown["visible"]
    assert sentence in shown["value"]
    assert ".." not in shown["value"]


def test_without_files_there_is_no_preview():
    shown = asyncio.run(Preview().show(None, MODEL, ANN))
    assert (shown["value"], shown["visible"]) == ("", False)


def test_a_failure_leaves_nothing_of_the_visitor(files, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    preview = Preview()
    monkeypatch.setattr(uploads, "uploads_html", fail)
    with pytest.raises(OSError, match="no space left"):
        asyncio.run(preview.show(files, MODEL, ANN))
    assert preview.latest == {}


def test_links_take_no_room_keep_the_order_and_outlive_the_uploads(files, tmp_path):
    folder = tmp_path / "run"
    assert save_uploads(files, folder) == str(folder)
    linked = sorted(folder.iterdir())
    assert [path.name for path in linked] == [f"{number:03d} same name.png" for number in range(5)]
    assert [path.stat().st_ino for path in linked] == [uploads.Path(path).stat().st_ino for path in files]
    for path in files:
        uploads.Path(path).unlink()
    assert len(run_to_end(read_pictures(folder, (1, 28, 28))).images) == 5
    assert save_uploads([], tmp_path / "none") == save_uploads(None, tmp_path / "none") == ""
    assert not (tmp_path / "none").exists()


def test_uploads_on_another_disk_are_copied(files, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(uploads.os, "link", fail)
    save_uploads(files, tmp_path / "run")
    assert len(run_to_end(read_pictures(tmp_path / "run", (1, 28, 28))).images) == 5


@pytest.mark.parametrize("name", ["é" * 120 + ".png", "a" * 200 + ".PNG", "x." + "b" * 250, "<b>&{names}%s.png", ".png"])
def test_odd_names_break_nothing(name, tmp_path):
    uploaded = [str(picture(tmp_path, 1, "a.png")), str(tmp_path / name)]
    uploads.Path(uploaded[1]).write_bytes(b"broken")
    shown = asyncio.run(Preview().show(uploaded, MODEL, ANN))["value"]
    assert "1 picture, as" in shown
    assert "<b>" not in shown
    save_uploads(uploaded, tmp_path / "run")
    assert len(run_to_end(read_pictures(tmp_path / "run", (1, 28, 28))).images) == 1


def test_of_many_pictures_the_first_are_shown():
    images = [uploads.torch.zeros(1, 8, 8, dtype=uploads.torch.uint8)] * (MOST_SHOWN + 1)
    assert f"{MOST_SHOWN + 1} pictures, as the model will see them (the first {MOST_SHOWN}):" in uploads_html(images, [])
