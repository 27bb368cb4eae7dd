"""Built-in suites: TOML files beside this module; `benchbench.suite` describes the schema."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchbench.contract import Offer


def _path(file: str, /) -> Path:
    return Path(__file__).with_name(file)


OFFERS: tuple[Offer, ...] = (
    Offer(
        name="closer-look",
        summary="Accuracy, adversarial accuracy and local Lipschitzness of ten training methods on image data.",
        factory=partial(_path, "closer-look.toml"),
        citation="Yang, Rashtchian, Zhang, Salakhutdinov, Chaudhuri: A Closer Look at Accuracy vs. Robustness, 2020",
    ),
    Offer(
        name="smoke",
        summary="Two tiny models on embedded data, in seconds: does everything work here?",
        factory=partial(_path, "smoke.toml"),
    ),
)
