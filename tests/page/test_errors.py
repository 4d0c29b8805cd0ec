"""Every error reaches a caller as a sentence, and a defect of ours leaves its traceback in the log alone."""

import asyncio
import json
import os
import re
from collections.abc import Iterator

import gradio as gr
import httpx
import pytest
from conftest import LIGHT
from gradio.state_holder import SessionState
from gradio_client import Client
from gradio_client.exceptions import AppError

from vdu.errors import LITTLE_MEMORY, LONGEST_SENTENCE, UserError
from vdu.page import Settings, build, launch_options
from vdu.page.errors import Studio, Told, of_value, shows_errors
from vdu.page.panel import copies

pytestmark = pytest.mark.own_loop
FILE = {"path": os.__file__, "meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def server():
    settings = Settings(any_model=True)
    page = build(settings)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(page))
    yield address.rstrip("/")
    page.close()


def nested(depth):
    """A list in a list, and so on."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


def answer(server, data, name="unlearn"):
    """The last event of a call by plain HTTP: its kind and its data."""
    call = f"{server}/gradio_api/call/{name}"
    body = json.dumps({"data": data})  # httpx refuses to write NaN
    started = httpx.post(call, content=body, headers={"content-type": "application/json"}, timeout=60)
    assert started.status_code == 200, started.text
    told = httpx.get(f"{call}/{started.json()['event_id']}", timeout=60).text.strip()
    event, _, data = told.split("\n\n")[-1].partition("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["no-such-model", "3", {}], "There is no model 'no-such-model'"),
        (["/etc/passwd", "3", {}], "There is no model '/etc/passwd'"),
        (["~nobody-at-all/model", "3", {}], "There is no folder '~nobody-at-all/model'"),
        (["", "3", {}], "Model must be a word"),
        ([None, "3", {}], "Model must be a word, not None"),
        ([3, "3", {}], "Model must be a word, not 3"),
        ([["mnist-ddpm"], "3", {}], "Model must be a word"),
        ([{"a": 1}, "3", {}], "Model must be a word"),
        (["a\0b", "3", {}], "There is no model"),
        (["a" * 3000, "3", {}], "at most 2,000 letters"),
        (["a" * 1900, "3", {}], "A name is too long for this machine; use a shorter one"),
        (["a" * 200, "3", {}], "There is no model 'a{39}…a{20}'"),
        (["mnist-ddpm", "q\u202e\x1b[31m\n" * 100, {}], r"has no class 'q \[31m q"),
        (["mnist-ddpm", "3", {"samples": float("nan")}], "Samples must be a whole number from 50 to 20,000, not nan"),
        (["mnist-ddpm", "3", {"samples": float("-inf")}], "Samples must be a whole number from 50 to 20,000, not -inf"),
        (
            ["mnist-ddpm", "3", {"samples": 10**4000}],
            "Samples must be a whole number from 50 to 20,000, not 10+[.]{3}0+[.]",
        ),
        (["mnist-ddpm", "3", {"samples": "a" * 10**5}], "Samples must be a whole number"),
        (["mnist-ddpm", "3", {f"field{number}": 0 for number in range(10_000)}], "A recipe has no 'field0'"),
        (["mnist-ddpm", "3", {"k" * 10**5: 0}], "A recipe has no 'k{39}…k{20}'"),
        (["mnist-ddpm", "3", nested(900)], "The recipe must be an object"),
        ([nested(900), "3", {}], "Model must be a word, not"),
        (["a" * 200, "3", {}], "There is no model 'a{39}…a{20}'"),
        (["mnist-ddpm", "queen", {}], "has no class 'queen'"),
        (["mnist-ddpm", None, {}], "Forget must be a word"),
        (["mnist-ddpm", 3, {}], "Forget must be a word, not 3"),
        (["mnist-ddpm", "3", "quick"], "The recipe must be an object"),
        (["mnist-ddpm", "3", [1]], "The recipe must be an object"),
        (["mnist-ddpm", "3", 7], "The recipe must be an object"),
        (["mnist-ddpm", "3", {"speed": 1}], "A recipe has no 'speed'"),
        (["mnist-ddpm", "3", {"samples": "many"}], "Samples must be a whole number"),
        (["mnist-ddpm", "3", {"samples": {"a": 1}}], "Samples must be a whole number"),
        (["mnist-ddpm", "3", {"steps": True}], "Steps must be a whole number"),
        (["mnist-ddpm", "3", {"seed": 10**30}], "Seed must be a whole number"),
        (["mnist-ddpm", "3", {"model": "tiny-sd"}], "The recipe says model 'tiny-sd', the call says 'mnist-ddpm'"),
        (["mnist-ddpm", "mine", {"judge": "pictures", "pictures": "/nowhere"}], "no folder of pictures '/nowhere'"),
        (["mnist-ddpm", "mine", {"judge": "pictures", "pictures": FILE}], "names a file that was not uploaded"),
        ([FILE, "3", {}], "names a file that was not uploaded"),
        (["mnist-ddpm"], "it gives 1 values; give 3"),
        ([], "it gives 0 values; give 3"),
        (["mnist-ddpm", "3", {}, 4, 5], "it gives 5 values; give 3"),
    ],
)
def test_a_bad_call_is_answered_by_a_sentence(data, message, server, capfd):
    event, told = answer(server, data)
    assert event == "error"
    assert re.search(message, told["error"])
    assert told["error"].isprintable()
    assert len(told["error"]) <= LONGEST_SENTENCE
    assert "studio itself" not in told["error"]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("call/unlearn", "{", 422, "This call cannot be read"),
        ("call/unlearn", "{}", 422, "data: Field required"),
        ("call/unlearn", '{"data": "x"}', 422, "data: Input should be a valid list"),
        ("call/unlearn", "[1]", 422, "body: Input should be"),
        ("call/nothing", '{"data": []}', 404, "there is nothing by its name"),
        ("queue/join", '{"data": [], "fn_index": 9999, "session_hash": "s"}', 404, "there is nothing by its name or number"),
        ("queue/join", '{"data": [], "session_hash": "s"}', 400, "No function index"),
        ("call/unlearn", '{"data": ' + "[" * 1500 + "]" * 1500 + "}", 400, "send its body as JSON"),
        ("call/unlearn", '{"data": [' + "9" * 5000 + "]}", 400, "send its body as JSON"),
        ("call/unlearn", "", 422, "body: Field required"),
        ("nowhere", "{}", 404, "There is nothing at this address"),
        ("call/unlearn", '{"data": ["' + "a" * 2**20 + '"]}', 413, "too large: send at most 512 KiB"),
        ("run/upload", '["' + "a" * 2**20 + '"]', 413, "too large: send at most 512 KiB"),
        ("call/upload", '["' + "a" * 2**20 + '"]', 413, "too large: send at most 512 KiB"),
        ("queue/join", '{"data": [], "fn_index": "x", "session_hash": "s"}', 422, "fn_index: Input should be"),
    ],
)
def test_a_request_that_is_no_call_is_answered_by_a_sentence(path, content, status, message, server):
    got = httpx.post(f"{server}/gradio_api/{path}", content=content, headers={"content-type": "application/json"})
    assert got.status_code == status
    assert re.search(message, got.json()["detail"])


def test_a_file_that_is_too_large_is_refused_with_the_limit(server):
    got = httpx.post(f"{server}/gradio_api/upload", files={"files": ("large.png", b"0" * (20 * 2**20 + 1))}, timeout=60)
    assert got.status_code == 413
    assert got.text == "One of these files has more than 20 MiB; save it smaller, or split the zip."


def test_a_call_of_no_stated_length_is_counted_as_it_comes(server):
    def chunks():
        yield b'{"data": ["'
        for _ in range(64):
            yield b"a" * 2**14
        yield b'"]}'

    got = httpx.post(f"{server}/gradio_api/call/unlearn", content=chunks(), timeout=60)
    assert (got.status_code, got.json()["detail"][:22]) == (413, "This call is too large")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Value: <b> (type: <class 'str'>) is not in the list of choices: ['a', 'b']", "'<b>' is not on offer; choose again"),
        ("Value: ['a'] is not in the list of choices: ['a', 'b']", "'['a']' is not on offer; choose again"),
        ("Value 0.5 is less than minimum value 1.", "0.5 is too small; take 1 or more"),
        ("Value 501 is greater than maximum value 500.", "501 is too large; take 500 or less"),
        ("Anything else.", "Anything else."),
    ],
)
def test_what_gradio_says_of_a_value_becomes_what_to_do_about_it(said, words):
    assert of_value(gr.Error(said)).startswith(words)


def test_the_page_is_given_what_a_visitor_typed_as_text():
    error = Told("There is no model '<img src=x onerror=alert(1)>'.", "No <model>", on_page=True)
    assert str(error) == "<b>No &lt;model&gt;.</b> There is no model &#x27;&lt;img src=x onerror=alert(1)&gt;&#x27;."
    assert str(Told(error.words, error.title)) == "There is no model '<img src=x onerror=alert(1)>'."


def test_python_s_client_is_told_the_same(server):
    client = Client(server, verbose=False)
    with pytest.raises(AppError, match="has no class 'queen'"):
        client.predict("mnist-ddpm", "queen", {}, api_name="/unlearn")
    for recipe in ("quick", "", 0, False, []):
        with pytest.raises(AppError, match="The recipe must be an object"):
            client.predict("mnist-ddpm", "3", recipe, api_name="/unlearn")


def test_after_a_cancelled_call_the_next_one_is_answered(server):
    client = Client(server, verbose=False)
    job = client.submit("mnist-ddpm", "3", LIGHT | {"samples": 2000}, api_name="/unlearn")
    while not job.outputs():
        pass
    job.cancel()
    assert client.predict("mnist-ddpm", "3", LIGHT, api_name="/unlearn")["samples"] == LIGHT["samples"]


def works(how: str) -> str:
    """A handler."""
    if how == "broken":
        raise RuntimeError("the first line\nthe second")
    if how == "wordless":
        raise ZeroDivisionError
    if how == "memory":
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")
    raise UserError("Choose something else.")


def yields(how: str) -> Iterator[str]:
    """A handler that fails after its first yield."""
    yield "one"
    works(how)


@pytest.fixture(scope="module")
def broken():
    with Studio() as page:
        for name, handler in (("works", works), ("yields", yields)):
            gr.api(handler, api_name=name)
            gr.api(shows_errors()(handler), api_name=f"{name}-decorated")
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    yield address.rstrip("/")
    page.close()


@pytest.mark.parametrize("name", ["works", "yields", "works-decorated", "yields-decorated"])
@pytest.mark.parametrize(
    ("how", "message", "logged"),
    [
        ("broken", "The run failed in the studio itself (RuntimeError: the first line); please report it.", True),
        ("wordless", "The run failed in the studio itself (ZeroDivisionError: ZeroDivisionError); please report it.", True),
        ("memory", LITTLE_MEMORY, False),
        ("refused", "Choose something else.", False),
    ],
)
def test_a_defect_is_a_sentence_and_its_traceback_is_in_the_log(name, how, message, logged, broken, capfd):
    event, told = answer(broken, [how], name)
    assert (event, told["error"]) == ("error", message)
    assert capfd.readouterr().err.count("in works") == logged


def test_what_a_handler_leaves_as_it_is_is_not_made_anew():
    with Studio() as page:
        parts = [gr.State(), gr.HTML("a"), gr.Slider(0, 9, 3), gr.Number(4)]
        gr.Button().click(lambda: {}, None, parts)
    function = next(iter(page.fns.values()))
    for changes in ({parts[2]: gr.update(value=5), parts[1]: "b"}, {parts[2]: 5}, {parts[0]: "kept"}):
        states = [SessionState(page), SessionState(page)]
        ours = asyncio.run(page.postprocess_data(function, copies(changes), states[0]))
        theirs = asyncio.run(gr.Blocks.postprocess_data(page, function, copies(changes), states[1]))
        changed = [part in changes for part in parts]
        assert [one for one, new in zip(ours, changed, strict=True) if new] == [
            one for one, new in zip(theirs, changed, strict=True) if new
        ]
        left = [one for one, new in zip(ours, changed, strict=True) if not new]
        assert all(one in (None, gr.skip()) for one in left)
        assert states[0][parts[0]._id] == states[1][parts[0]._id]
        assert states[0][parts[3]._id] is parts[3]
        assert states[1][parts[3]._id] is not parts[3]  # once Gradio does not make it anew, ours is not needed
