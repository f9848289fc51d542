"""A headless Chromium in which tests do what a person does: open a page, click, paste."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest


def find_chromium() -> str | None:
    """A Chromium on PATH, under any of its names."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def started(tmp_path_factory):
    """For a fixture: a browser, ended afterwards; skips where none can be had."""
    if find_chromium() is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    pytest.importorskip("websocket", reason="websocket-client is not installed: pip install websocket-client")
    one = Browser(tmp_path_factory.mktemp("chromium"))
    yield one
    one.close()


class Browser:
    """A headless Chromium, spoken to over the DevTools protocol; notes errors, exceptions and requests."""

    def __init__(self, profile: Path) -> None:
        import websocket

        self.process = subprocess.Popen(
            [
                *(find_chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--remote-debugging-port=0", "--remote-allow-origins=*", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update", "--window-size=1200,900"),
                *(f"--user-data-dir={profile}", "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            end = time.monotonic() + 60
            port_file = profile / "DevToolsActivePort"
            while not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
                assert self.process.poll() is None and time.monotonic() < end, "Chromium has not started within 60 s"
                time.sleep(0.1)
            port = port_file.read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
                target = next(target for target in json.load(answer) if target["type"] == "page")
            self.socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=60)
        except BaseException:
            self.close()
            raise
        self.number, self.complaints, self.requests = 0, [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        """The result of a command; what the page reports meanwhile is noted."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict) -> None:
        method, parameters = message["method"], message["params"]
        if method == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(parameters["args"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def run(self, script: str):
        """The value of an expression in the page, awaited."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """What a person does: move the mouse onto the first such element and press its button. (A click that a script makes is no
        user's gesture, and a page may not do everything after it.)"""
        place = self.run(
            f"""(async () => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView({{ block: 'center' }});
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"""
        )
        mouse = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", **mouse | {"type": "mouseMoved", "button": "none", "clickCount": 0})
        self.call("Input.dispatchMouseEvent", **mouse, type="mousePressed")
        self.call("Input.dispatchMouseEvent", **mouse, type="mouseReleased")

    def until(self, script: str, seconds: float = 10):
        """The value of an expression in the page, once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"not true within {seconds} s: {script}"
            time.sleep(0.05)
        return value

    def pasted(self) -> str:
        """What the clipboard holds, pasted into a field of the page by the keyboard."""
        self.run(
            """(() => { const area = document.createElement('textarea'); area.id = 'pasted'; document.body.append(area); area.focus(); })()"""
        )
        key = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2, "commands": ["paste"]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key | {"commands": []})
        return self.until("document.getElementById('pasted').value")

    def open(self, file: Path) -> None:
        """Load a page and wait until every figure in sight is drawn."""
        self.call("Page.navigate", url=file.as_uri())
        end = time.monotonic() + 60
        drawn = "document.readyState === 'complete' && [...document.querySelectorAll('.plot')].filter((plot) => plot.offsetParent)"
        while not self.run(
            f"location.protocol === 'file:' && {drawn}.every((plot) => plot.querySelector('.main-svg'))"
        ):
            assert time.monotonic() < end, "the page has not drawn its figures within 60 s"
            time.sleep(0.2)

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
