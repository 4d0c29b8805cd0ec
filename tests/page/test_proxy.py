"""The page behind a proxy that serves it under a path, as GRADIO_ROOT_PATH says, in a real browser."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from conftest import LIGHT
from playwright.sync_api import expect
from visitor import press_unlearn, visit

from vdu.page import Settings, build, launch_options

pytest_plugins = ["browser"]

ROOT_PATH = "/studio"
OF_ONE_CONNECTION = ("connection", "keep-alive", "transfer-encoding", "host", "upgrade")


class Proxy(BaseHTTPRequestHandler):
    """Passes on what is asked for under the path, without the path, as it comes."""

    def forward(self):
        if not self.path.startswith(f"{ROOT_PATH}/"):
            self.server.lost.append(self.path)
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = [*self.kept(self.headers.items()), ("X-Forwarded-Host", self.headers["Host"])]
        url = self.server.behind + self.path.removeprefix(ROOT_PATH)
        with (
            suppress(ConnectionError, httpx.TransportError),  # one of the two has gone
            httpx.stream(self.command, url, content=body, headers=headers, timeout=None) as answer,
        ):
            self.send_response_only(answer.status_code)
            for name, value in self.kept(answer.headers.multi_items()):
                self.send_header(name, value)
            self.end_headers()
            for part in answer.iter_raw():
                self.wfile.write(part)
                self.wfile.flush()

    do_GET = do_POST = do_HEAD = forward

    @staticmethod
    def kept(headers):
        return [(name, value) for name, value in headers if name.lower() not in OF_ONE_CONNECTION]

    def log_message(self, *words):
        """Say nothing."""


@pytest.fixture
def proxy(monkeypatch):
    """A proxy with the page behind it."""
    monkeypatch.setenv("GRADIO_ROOT_PATH", ROOT_PATH)
    settings = Settings()
    page = build(settings)
    with ThreadPoolExecutor(1) as thread:  # the browser's event loop runs in this one
        launch = thread.submit(page.launch, prevent_thread_lock=True, quiet=True, **launch_options(page))
        launch.result()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads, server.lost, server.behind = True, [], f"http://127.0.0.1:{page.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
    page.close(verbose=False)


def test_a_run_under_a_path_from_click_to_download(proxy, browser):
    page = visit(browser, f"http://127.0.0.1:{proxy.server_port}{ROOT_PATH}/", **LIGHT)
    press_unlearn(page)
    expect(page.locator("#status")).to_contain_text("Done")
    with page.expect_download() as waiting:
        page.get_by_text("Report (").click()
    assert json.loads(Path(waiting.value.path()).read_text())["recipe"]["steps"] == LIGHT["steps"]
    assert f":{proxy.server_port}{ROOT_PATH}/" in waiting.value.url
    assert [path for path in proxy.lost if path != "/favicon.ico"] == []
    page.context.close()
