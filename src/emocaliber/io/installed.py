"""Which of the packages that this one names are installed, by what they are for; and the machine it all runs on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version


@dataclass(frozen=True)
class Package:
    """A package that is wanted: its name, the range of its versions, and the version that is installed, None without one."""

    name: str
    wanted: str
    version: str | None

    @property
    def problem(self) -> str | None:
        """What is wrong with it in a few words, or None."""
        from packaging.specifiers import SpecifierSet

        if self.version is None:
            return f"{self.name} is missing"
        fits = SpecifierSet(self.wanted).contains(self.version, prereleases=True)
        return None if fits else f"{self.name} {self.version} is not {self.wanted}"

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.name}{','.join(sorted(self.wanted.split(','), reverse=True))}"


def packages() -> dict[str, list[Package]]:
    """The packages that are wanted on this platform, by extra; "" has those that come by default. Empty if EmoCaliber is not installed."""
    try:
        return packages_of(requires("emocaliber") or ())
    except PackageNotFoundError:
        return {}


def packages_of(requirements: Iterable[str]) -> dict[str, list[Package]]:
    """As `packages`, for requirements as they stand in a package's metadata. An extra that names others has theirs left out."""
    from packaging.requirements import Requirement

    found: dict[str, list[Package]] = {}
    parsed = [Requirement(each) for each in requirements]
    extras = dict.fromkeys(["", *(extra for each in parsed if (extra := _extra_of(str(each.marker or ""))))])
    for extra in extras:
        for each in parsed:
            marker = each.marker
            its = _extra_of(str(marker or ""))
            if its == extra and each.name != "emocaliber" and (marker is None or marker.evaluate({"extra": extra})):
                found.setdefault(extra, []).append(Package(each.name, str(each.specifier), _version(each.name)))
    return found


def _extra_of(marker: str) -> str:
    """The extra in a marker, such as `extra == "train"`; empty for none."""
    return marker.partition('extra == "')[2].partition('"')[0]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Machine:
    """What a program here can use. Memory is in bytes, None where the system does not say; `load` is the mean number of busy processes."""

    system: str
    python: str
    cores: int
    memory: int | None
    load: float | None

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        try:
            memory: int | None = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            memory = None
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        return cls(f"{platform.system()} {platform.machine()}", platform.python_version(), cores, memory, load)

    @property
    def busy(self) -> bool:
        """Whether others use so much of it that times here are longer than they need be."""
        return self.load is not None and self.load > 0.5 * self.cores
