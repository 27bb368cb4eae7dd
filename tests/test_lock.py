"""The lock that CI installs from: versions of constraints.txt with hashes, for all that pyproject.toml names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """Each pinned distribution with the text of its entry."""
    text = (ROOT / ".ci" / "lock.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return {normal(re.split(r"[=<>@ ]", entry)[0]): entry for entry in entries if entry}


def test_lock_pins_every_distribution_by_version_and_hash() -> None:
    assert len(locked()) > 100
    pinned = re.compile(r"[\w.-]+==[\w.+]+(?: ;[^\\]+)?( \\\n +--hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in locked().values() if not pinned.fullmatch(entry)] == []


def test_lock_has_the_versions_of_the_constraints() -> None:
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    found = locked()
    differing = [
        (name, version, found[normal(name)].split()[0])
        for name, version in pins
        if normal(name) in found and not re.search(rf"=={re.escape(version)}(\+cpu)?\s", found[normal(name)])
    ]
    assert differing == []


def test_lock_has_all_that_the_tests_and_the_build_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    named = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    named += [requirement for extra in extras.values() for requirement in extra]
    named += (ROOT / ".ci" / "tools.in").read_text(encoding="utf-8").splitlines()
    names = {normal(re.split(r"[\[<>=;! ]", one)[0]) for one in named if not one.startswith("#")}
    assert names - {"benchbench-robustness"} - locked().keys() == set()


def test_ci_installs_from_the_lock_alone() -> None:
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    before, after = steps.split("export PIP_NO_INDEX=1", 1)
    assert "pip download -q --require-hashes" in before
    assert not [line for line in before.splitlines() if "pip install" in line and not line.startswith("#")]
    assert "README" in after
