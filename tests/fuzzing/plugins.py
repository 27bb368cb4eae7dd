"""Mutated plugins: offers of other values, and distributions of damaged metadata; the host works on."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from fuzzing.draws import Draws, splice
from fuzzing.suites import words

from benchbench.contract import Capabilities, Offer, hookimpl
from benchbench.contract.offers import KINDS
from benchbench.errors import BenchbenchError
from benchbench.registry import examine, load_registry

METADATA = b"Metadata-Version: 2.1\nName: fuzzed\nVersion: 1\nSummary: a plugin\n"
ENTRY_POINTS = (
    b"[benchbench]\nfuzzed = fuzzing.plugins:nothing\nother = fuzzing.plugins\n\n[console_scripts]\nx = y:z\n"
)
RECORD = b"fuzzed/__init__.py,sha256=x,3\nfuzzed-1.dist-info/METADATA,,\n"


class nothing:  # noqa: N801 - an entry point, like a module
    """A plugin without hooks."""


def _factory(*, size: int = 3, name: str = "x") -> object:
    return (size, name)


def plugin_offers(data: bytes) -> None:
    """Offers with other values in some fields, as a plugin without a type checker may make them."""
    draws = Draws(data)
    offers: list[Any] = []
    for _ in range(1 + draws.below(3)):
        capabilities = Capabilities(**_some(Capabilities, draws))
        fields = {"name": "fuzzed", "summary": "a component", "factory": _factory, "capabilities": capabilities}
        offers.append(Offer(**{**fields, **_some(Offer, draws)}) if draws.below(8) else draws.value(words()))

    class Fuzzed:
        """Offers the same of one kind."""

    hook = f"benchbench_{draws.choice(list(KINDS))}s"
    setattr(Fuzzed, hook, hookimpl(specname=hook)(lambda self: offers))
    if not draws.below(8):
        Fuzzed.BENCHBENCH_API = draws.value()  # type: ignore[attr-defined]
    _use(Fuzzed())


def plugin_metadata(data: bytes) -> None:
    """An installed distribution with changed bytes in its metadata."""
    draws = Draws(data)
    files = {"METADATA": METADATA, "entry_points.txt": ENTRY_POINTS, "RECORD": RECORD, "direct_url.json": b"{}"}
    for _ in range(1 + draws.below(2)):
        name = draws.choice(sorted(files))
        if draws.below(6):
            files[name] = splice(
                files[name], draws, [b"=", b"\n", b"[", b"]", b":", b"\xff", b"benchbench", b"../" * 9]
            )
        else:
            del files[name]
            break
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        place = Path(folder) / "fuzzed-1.dist-info"
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
        sys.path.append(folder)
        importlib.invalidate_caches()
        try:
            _use()
        finally:
            sys.path.remove(folder)


def _some(kind: Any, draws: Draws) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(kind)]
    return {draws.choice(names): draws.value(words()) for _ in range(draws.below(3))}


def _use(*plugins: object) -> None:
    registry = load_registry(extra_plugins=plugins)
    assert registry.offers("attack")
    found = examine(registry)
    assert all(problem.error for problem in found)
    for kind in KINDS:
        for entry in registry.offers(kind):
            if not entry.built_in:
                with contextlib.suppress(BenchbenchError):
                    registry.resolve(kind, entry.offer.name)
                with contextlib.suppress(BenchbenchError):
                    registry.members(kind, entry.offer.name)
