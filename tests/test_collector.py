"""The garbage collector rests inside, and is afterwards as it was."""

from __future__ import annotations

import gc

import pytest

from benchbench.collector import collector_paused


def _fail() -> None:
    with collector_paused():
        assert not gc.isenabled()
        raise RuntimeError


def test_the_collector_rests_inside_and_works_afterwards_also_after_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        _fail()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
