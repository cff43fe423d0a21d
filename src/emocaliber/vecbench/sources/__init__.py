"""The six public data sets of VECBench, each read from its own folder, and anyone's own data set (`custom`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from emocaliber.vecbench.sources import abstract, artphoto, custom, emoset, fi, unbiasedemo, webemo
from emocaliber.vecbench.sources.reader import Item, LoadedSource, Reader, Skipped, SkipReason

__all__ = ["SOURCES", "Item", "LoadedSource", "Reader", "SkipReason", "Skipped", "custom"]

SOURCES: Mapping[str, Reader] = MappingProxyType(
    {
        "fi": fi.read,
        "webemo": webemo.read,
        "emoset": emoset.read,
        "abstract": abstract.read,
        "artphoto": artphoto.read,
        "unbiasedemo": unbiasedemo.read,
    }
)
