"""A headless Chromium for tests, driven by the DevTools protocol over two pipes: no driver and no library is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
_PATIENCE = 60.0  # seconds that anything may take on a busy machine
_FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--disable-extensions", "--disable-background-networking", "--mute-audio"),
)
_KEYS = {  # code, virtual key, text
    **{"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), " ": ("Space", 32, " "), "Escape": ("Escape", 27, "")},
    **{"ArrowLeft": ("ArrowLeft", 37, ""), "ArrowRight": ("ArrowRight", 39, ""), "End": ("End", 35, ""), "Home": ("Home", 36, "")},
    **{str(digit): (f"Digit{digit}", 48 + digit, str(digit)) for digit in range(10)},
}


class Browser:
    """A running Chromium with one page open. Its profile lies in a temporary folder, and downloads in `downloads`."""

    def __init__(self, downloads: Path) -> None:
        assert CHROMIUM
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.downloads = downloads
        theirs_in, self._out = map(_high, os.pipe())
        self._in, theirs_out = map(_high, os.pipe())
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        quiet = _high(os.open(os.devnull, os.O_RDWR))
        wiring = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4), (os.POSIX_SPAWN_DUP2, quiet, 2)]
        self._pid = os.posix_spawn(CHROMIUM, command, dict(os.environ), file_actions=wiring, setpgroup=0)
        for descriptor in (theirs_in, theirs_out, quiet):
            os.close(descriptor)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a method of the protocol; events that come before it are added to `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session and not method.startswith(("Browser.", "Target.")):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == self._number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]
            self.events.append(reply)

    def evaluate(self, script: str) -> Any:
        """The value of a script in the page, awaited if it is a promise."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str) -> None:
        """Waits until a script in the page gives what is true there."""
        wait_for(lambda: self.evaluate(f"Boolean({script})"), script)

    def open(self, url: str) -> None:
        """Opens a page, and waits until it and its scripts have loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def press(self, key: str, times: int = 1, *, shift: bool = False) -> None:
        """Presses a key as a person would."""
        code, number, text = _KEYS[key]
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def tab_to(self, selector: str, most: int = 80) -> None:
        """Presses Tab until what matches the selector has the focus."""
        for _ in range(most):
            if self.evaluate(f"document.activeElement?.matches({json.dumps(selector)})"):
                return
            self.press("Tab")
        raise AssertionError(f"Tab does not lead to {selector}")

    def type(self, text: str) -> None:
        """Types a text where the focus is."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Clicks in the middle of the first element that matches."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{found}.scrollIntoView({{block: 'center'}})")
        x, y = self.evaluate(f"(() => {{const r = {found}.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]}})()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drop(self, files: Sequence[Path], selector: str = "body") -> None:
        """Drags files from outside over the first element that matches, and drops them."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.evaluate(f"(() => {{const r = {box}; return [r.x + r.width / 2, r.y + 60]}})()")
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose_files(self, files: Sequence[Path], open_chooser: Callable[[], None]) -> None:
        """Answers the file chooser that `open_chooser` brings up."""
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        self.events.clear()
        open_chooser()
        chooser = wait_for(self._chooser, "a file chooser")
        self.call("DOM.setFileInputFiles", files=[str(file) for file in files], backendNodeId=chooser["params"]["backendNodeId"])
        self.call("Page.setInterceptFileChooserDialog", enabled=False)

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Sets the size of the window in CSS pixels, and the preferred colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, {"name": "prefers-reduced-motion", "value": "reduce"}])

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Writes a picture of the page, with `whole` also of what is below the window."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def complaints(self) -> list[str]:
        """What the console has of errors and of breaches of the page's policy since it was opened; broken pictures are expected."""
        self.evaluate("0")
        told = [event["params"]["entry"] for event in self.events if event.get("method") == "Log.entryAdded"]
        thrown = [event["params"]["exceptionDetails"] for event in self.events if event.get("method") == "Runtime.exceptionThrown"]
        return [f"{entry['text']} {entry.get('url', '')}" for entry in told if entry["level"] == "error"] + [str(each) for each in thrown]

    def downloaded(self, name: str) -> Path:
        """The path of a download, once it is complete."""
        path = self.downloads / name
        wait_for(lambda: path.exists() and not list(self.downloads.glob("*.crdownload")), name)
        return path

    def _chooser(self) -> dict[str, Any] | None:
        self.evaluate("0")
        return next((event for event in self.events if event.get("method") == "Page.fileChooserOpened"), None)

    def _receive(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            received = os.read(self._in, 1 << 16)
            assert received, "the browser has ended"
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


def wait_for(found: Callable[[], Any], what: str) -> Any:
    """The value of `found` once it is true; fails, naming `what`, if that takes a minute."""
    until = time.monotonic() + _PATIENCE
    while not (value := found()):
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.05)
    return value


def _high(descriptor: int) -> int:
    """The descriptor under a number above those that the browser expects its pipes at."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(descriptor)
    return moved
