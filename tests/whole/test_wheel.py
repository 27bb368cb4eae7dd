"""What is published works without the clone: the source distribution builds the wheel, and the wheel runs a suite."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt

from benchbench.contract.offers import KINDS
from benchbench.version import DISTRIBUTION, __version__

ROOT = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed."""
    finished = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, which is built from this tree; without network."""
    pytest.importorskip("hatchling", reason="the extra `test` has it")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    source = folder / packed.name.removesuffix(".tar.gz")
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into."""
    folder = tmp_path_factory.mktemp("installed")
    run(*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", folder, wheel, cwd=folder)
    return folder


@pytest.fixture
def outside(installed: Path) -> dict[str, str]:
    """An environment in which the installed folder comes first and nothing names the clone."""
    return {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}


def test_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    files = [path for path in (ROOT / "benchbench").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name.startswith("benchbench/")}
    assert packed == {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files}
    assert {Path(name).suffix for name in packed} >= {".toml", ".csv", ".j2", ".js", ".css", ".template", ".typed"}


def test_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (place,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata: Message = email.message_from_bytes(archive.read(place))
        points = archive.read(place.replace("METADATA", "entry_points.txt")).decode()
    assert (metadata["Name"], metadata["Version"]) == (DISTRIBUTION, __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "builtin = benchbench.builtin" in points
    assert "benchbench = benchbench.cli:main" in points
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchbench").rglob("*.py"))
    named = set(re.findall(r'install_command\("([a-z-]+)"\)', sources))
    assert {"report", "timm"} < named < set(metadata.get_all("Provides-Extra", []))


def test_pages_of_the_package_index_have_no_link_that_leads_nowhere(wheel: Path) -> None:
    """There, a relative link leads nowhere; a file that the text names instead is in the source distribution."""
    with zipfile.ZipFile(wheel) as archive:
        (place,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        index = email.message_from_bytes(archive.read(place)).get_payload()
    assert isinstance(index, str)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [index, *(path.read_text(encoding="utf-8") for path in ROOT.glob("plugins/*/README.md"))]
    goals = [re.findall(r'(?:href|src)="([^"]*)"', MarkdownIt().enable("table").render(page)) for page in pages]
    assert len(goals[0]) >= 5
    assert [goal for found in goals for goal in found if not goal.startswith(("https://", "#"))] == []
    (packed,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    pages_named = set(re.findall(r"docs/[a-z-]+\.md", readme))
    assert len(pages_named) >= 10
    assert pages_named <= files
    assert pages_named == set(re.findall(r"docs/[a-z-]+\.md", index))


def test_suite_runs_from_the_wheel_outside_the_clone(installed: Path, outside: dict[str, str], tmp_path: Path) -> None:
    listing = (
        "import benchbench; from benchbench.registry import load_registry\n"
        "print(benchbench.__file__, *(entry.offer.name for entry in load_registry().offers('suite')), sep='\\n')"
    )
    file, *suites = run(sys.executable, "-c", listing, cwd=tmp_path, environment=outside).splitlines()
    assert Path(file).is_relative_to(installed)
    assert {"closer-look", "smoke"} <= set(suites)
    program = (sys.executable, "-m", "benchbench")
    folders = ("--runs", tmp_path / "runs", "--leaderboards", tmp_path / "leaderboards")
    run(
        *program,
        "run",
        "--suite",
        "smoke",
        "--device",
        "cpu",
        "--jobs",
        "1",
        *folders,
        cwd=tmp_path,
        environment=outside,
    )
    rows = pq.read_table(tmp_path / "leaderboards" / "smoke.parquet").to_pylist()
    assert {(row["defense"], row["status"]) for row in rows} == {("natural", "ok"), ("at", "ok")}
    assert all(json.loads(row["versions"])["benchbench"] == __version__ for row in rows)


def test_templates_of_every_kind_are_in_the_wheel(outside: dict[str, str], tmp_path: Path) -> None:
    write = (
        "import sys; from pathlib import Path; from benchbench.scaffold import write_plugin\n"
        "for kind in sys.argv[1:]: write_plugin(kind, 'my-' + kind, out=Path('.'))"
    )
    run(sys.executable, "-c", write, *KINDS, cwd=tmp_path, environment=outside)
    for kind in KINDS:
        project = (tmp_path / f"benchbench-my-{kind}" / "pyproject.toml").read_text(encoding="utf-8")
        assert f'"{DISTRIBUTION}>=0.1"' in project
