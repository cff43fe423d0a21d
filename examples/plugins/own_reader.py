"""A reader of one's own, for a data set whose labels stand in the names of its files (`joy-0012.jpg`). In the configuration of a benchmark:

[custom.mine]
path = "pictures"
reader = "by-name"

emocaliber bench build bench.toml --plugin examples/plugins/own_reader.py --out bench
"""

from emocaliber.vecbench.sources import READERS
from emocaliber.vecbench.sources.reader import Item, LoadedSource


@READERS.register("by-name")
def by_name(path, name, labels=None, **settings):
    files = sorted(path.glob("*-*.*"))
    return LoadedSource(name, path, tuple(Item(str(file.absolute()), file.name.partition("-")[0], name) for file in files), ())
