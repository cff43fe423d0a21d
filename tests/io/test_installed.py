"""Which packages are wanted, installed and in range; and the machine."""

from __future__ import annotations

from emocaliber.io.installed import Machine, Package, packages, packages_of

REQUIREMENTS = (
    "numpy<3,>=1.26",
    'no-such-package>=1; extra == "train"',
    'emocaliber[train]; extra == "dev"',
    'pytest<5; extra == "dev"',
    'pytest>=5; platform_system == "Nowhere" and extra == "dev"',
)


def test_packages_are_listed_by_what_they_are_for_with_the_version_that_is_here() -> None:
    found = packages_of(REQUIREMENTS)
    assert {extra: [each.name for each in group] for extra, group in found.items()} == {
        "": ["numpy"],
        "train": ["no-such-package"],
        "dev": ["pytest"],
    }
    (numpy,) = found[""]
    assert numpy.version and numpy.problem is None


def test_what_is_missing_or_out_of_range_is_said_with_what_to_ask_pip_for() -> None:
    found = packages_of(REQUIREMENTS)
    assert found["train"][0].problem == "no-such-package is missing"
    assert found["train"][0].requirement == "no-such-package>=1"
    (pytest,) = found["dev"]
    assert pytest.problem == f"pytest {pytest.version} is not <5"
    assert Package("any", ">=1", "2.0rc1").problem is None


def test_this_package_itself_wants_torch_by_default() -> None:
    assert "torch" in {each.name for each in packages()[""]}


def test_a_machine_is_busy_if_half_of_its_cores_are_at_work() -> None:
    assert Machine.here().cores >= 1
    assert Machine("Linux", "3.11", 2, None, 1.5).busy
    assert not Machine("Linux", "3.11", 8, None, 1.5).busy
    assert not Machine("Windows", "3.11", 2, None, None).busy
