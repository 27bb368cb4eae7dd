"""Built-in suites."""

from __future__ import annotations

from benchbench.contract import Offer

OFFERS: tuple[Offer, ...] = ()
