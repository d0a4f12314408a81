"""Lanes, and the watchdog of a process that a decoder stops whole. What they do to a run: tests/integration."""

import faulthandler

import pytest

from fastdup_ray.extract.lanes import Watchdog


def test_a_watchdog_without_memory_for_its_thread_is_short_of_memory(monkeypatch):
    """Then the picture that took it is looked for; any other error would end the run."""

    def fail(*_, **__):
        raise RuntimeError("unable to start watchdog thread")

    monkeypatch.setattr(faulthandler, "dump_traceback_later", fail)
    with pytest.raises(MemoryError):
        Watchdog(5).pat()
