"""The six public data sets of VECBench, each read from its own folder, and anyone's own data set (`custom`)."""

from __future__ import annotations

from collections.abc import Callable

from emocaliber.io.plugins import Registry
from emocaliber.vecbench.sources import abstract, artphoto, custom, emoset, fi, unbiasedemo, webemo
from emocaliber.vecbench.sources.reader import Item, LoadedSource, Reader, Skipped, SkipReason

__all__ = ["READERS", "SOURCES", "Item", "LoadedSource", "Reader", "SkipReason", "Skipped", "custom"]

SOURCES: Registry[Reader] = Registry("source")
SOURCES.add("fi", fi.read)
SOURCES.add("webemo", webemo.read)
SOURCES.add("emoset", emoset.read)
SOURCES.add("abstract", abstract.read)
SOURCES.add("artphoto", artphoto.read)
SOURCES.add("unbiasedemo", unbiasedemo.read)

# Of data sets of one's own (`[custom.NAME] reader = ...`): each takes what `custom.read` takes.
READERS: Registry[Callable[..., LoadedSource]] = Registry("reader")
READERS.add("folder-or-csv", custom.read)
