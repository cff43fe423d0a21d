"""What Label Studio sends and expects: its labelling configuration, its images, and people's annotations as samples.

The contract is that of its ML backends (POST /setup, /predict, /webhook, GET /health). One number fits a task there, the prediction's
`score`: it is the calibrated probability that the label is right.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit
from xml.etree import ElementTree

from emocaliber.errors import UserError
from emocaliber.io.images import ImageError

_LOCAL = "/data/local-files/"
_MOST_BYTES = 50_000_000
_PATIENCE = 30  # seconds


@dataclass(frozen=True)
class Interface:
    """What a labelling configuration asks about an image: `choices` of the control `control` about the object `shown`, whose file stands
    in the field `field` of a task. `text` is a text area about the same image, for the distribution; None without one."""

    control: str
    shown: str
    field: str
    choices: tuple[str, ...]
    text: str | None = None

    @classmethod
    def of(cls, configuration: str) -> Interface:
        """The first choice about an image. Raises UserError for a configuration that is not XML, or asks for none."""
        try:
            root = ElementTree.fromstring(configuration)
        except ElementTree.ParseError as error:
            raise UserError(f"the labelling configuration is no XML ({error})") from error
        images = {each.get("name"): (each.get("value") or "").removeprefix("$") for each in root.iter("Image")}
        texts = {each.get("toName"): each.get("name") for each in root.iter("TextArea")}
        for control in root.iter("Choices"):
            shown, names = control.get("toName"), [each.get("value") for each in control.iter("Choice")]
            named = tuple(name for name in names if name)
            if shown in images and images[shown] and len(named) > 1:
                return cls(str(control.get("name")), str(shown), images[shown], named, texts.get(shown))
        raise UserError('the labelling configuration needs an <Image> and <Choices toName="..."> about it with two choices or more')


@dataclass(frozen=True)
class Sources:
    """Where images may come from: Label Studio itself at `url` with its `token`, and local files below `folder`."""

    url: str | None = None
    token: str | None = None
    folder: Path | None = None

    def read(self, address: str) -> bytes:
        """The bytes of a task's image. Raises ImageError for an address elsewhere, a file outside the folder, and what cannot be read."""
        if address.startswith("data:"):
            return _of_data(address)
        if address.startswith(_LOCAL) and self.folder is not None:
            return self._of_folder(unquote(parse_qs(urlsplit(address).query).get("d", [""])[0]))
        if self.url is None:
            raise ImageError("not_found", f"{address}: start this backend with --label-studio URL, where it may fetch images")
        whole = urljoin(self.url.rstrip("/") + "/", address)
        if urlsplit(whole)[:2] != urlsplit(self.url)[:2]:
            raise ImageError("not_found", f"{address}: images are fetched from {self.url} alone")
        return self._fetched(whole)

    def _of_folder(self, path: str) -> bytes:
        assert self.folder is not None
        root = self.folder.resolve()
        file = (root / path.lstrip("/")).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            raise ImageError("not_found", f"{path}: is no file below {root}")
        return file.read_bytes()

    def annotated(self, project: str) -> list[dict[str, Any]] | None:
        """The tasks of a project that people have annotated, with their annotations, as Label Studio has them now; None without its key.

        Raises UserError where it cannot be asked.
        """
        import httpx2

        if self.url is None or not self.token:
            return None
        address = f"{self.url.rstrip('/')}/api/projects/{project}/export?exportType=JSON"
        try:
            response = httpx2.get(address, headers=self._headers(), timeout=_PATIENCE)
            response.raise_for_status()
            found: list[dict[str, Any]] = response.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise UserError(
                f"the annotations cannot be had from Label Studio ({error}); is its key right (LABEL_STUDIO_API_KEY)?"
            ) from error
        return found

    def _fetched(self, address: str) -> bytes:
        import httpx2

        try:
            with httpx2.stream("GET", address, headers=self._headers(), timeout=_PATIENCE) as response:
                response.raise_for_status()
                found = bytearray()
                for part in response.iter_bytes():
                    found += part
                    if len(found) > _MOST_BYTES:
                        raise ImageError("too_large", f"{address}: is larger than {_MOST_BYTES:,} bytes")
        except httpx2.HTTPError as error:
            raise ImageError("not_found", f"{address}: {error}") from error
        return bytes(found)

    def _headers(self) -> dict[str, str]:
        """What a request to Label Studio needs. Its personal access tokens are exchanged for one that holds for minutes, as it wants it."""
        import httpx2

        if not self.token:
            return {}
        if self.token.count(".") != 2:  # a legacy token
            return {"Authorization": f"Token {self.token}"}
        assert self.url is not None
        response = httpx2.post(f"{self.url.rstrip('/')}/api/token/refresh", json={"refresh": self.token}, timeout=_PATIENCE)
        response.raise_for_status()
        return {"Authorization": f"Bearer {response.json()['access']}"}


def prediction(row: Mapping[str, Any], interface: Interface, named: Mapping[str, str], version: str) -> dict[str, Any]:
    """A prediction row as Label Studio has it; `named` gives each label as the configuration spells it. Without an answer, it is empty."""
    if row.get("emotion") is None:
        return {"model_version": version, "score": 0.0, "result": []}
    regions: list[dict[str, Any]] = [
        {
            "from_name": interface.control,
            "to_name": interface.shown,
            "type": "choices",
            "value": {"choices": [named[row["emotion"]]]},
        }
    ]
    if interface.text and (told := told_of(row, named)):
        regions.append({"from_name": interface.text, "to_name": interface.shown, "type": "textarea", "value": {"text": [told]}})
    return {"model_version": version, "score": float(row["confidence"] or 0.0), "result": regions}


def told_of(row: Mapping[str, Any], named: Mapping[str, str]) -> str:
    """The model's own distribution in words, likeliest first."""
    return ", ".join(f"{named.get(each['emotion'], each['emotion'])} {each['probability']:.2f}" for each in row.get("alternatives") or ())


def annotated_label(annotation: Mapping[str, Any], interface: Interface) -> str | None:
    """The one label that an annotation chose; None where it was skipped, cancelled, or chose none or several."""
    if annotation.get("was_cancelled"):
        return None
    chosen = [
        choice
        for region in annotation.get("result") or ()
        if region.get("from_name") == interface.control and region.get("type") == "choices"
        for choice in region.get("value", {}).get("choices", ())
    ]
    return chosen[0] if len(chosen) == 1 and chosen[0] in interface.choices else None


def votes_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """How many people chose each label for each task, from the rows of annotations: of one person's the last counts, and null withdraws."""
    last: dict[tuple[str, str], str | None] = {}
    for row in rows:
        last[str(row["task"]), str(row["person"])] = row["label"]
    found: dict[str, Counter[str]] = {}
    for (task, _), label in last.items():
        if label is not None:
            found.setdefault(task, Counter())[label] += 1
    return found


def _of_data(address: str) -> bytes:
    head, _, body = address.partition(",")
    if not head.endswith(";base64"):
        raise ImageError("corrupt", "a data address needs ;base64")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ImageError("corrupt", f"a data address holds no base64: {error}") from error


def credentials() -> tuple[str, str] | None:
    """The name and the password that clients must give, from BASIC_AUTH_USER and BASIC_AUTH_PASS; None if neither is set.

    Raises UserError where only one is.
    """
    user, word = os.environ.get("BASIC_AUTH_USER"), os.environ.get("BASIC_AUTH_PASS")
    if bool(user) != bool(word):
        raise UserError("BASIC_AUTH_USER and BASIC_AUTH_PASS go together; set both or neither")
    return (user, word) if user and word else None
