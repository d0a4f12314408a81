"""Lanes, and the watchdog of a process that a decoder stops whole. What they do to a run: tests/integration."""

import faulthandler
import itertools
import signal
import subprocess
import sys
import threading
import time

import pytest

from fastdup_ray.extract.worker_threads import AbandonableThread, Watchdog, run_jobs

pytestmark = pytest.mark.alone


def test_a_thread_that_was_given_up_takes_up_nothing_else():
    came_back, late, finished = threading.Event(), [], []

    def work(lane, job):
        lane.start_item(job)
        if job == 0 and not late:
            came_back.wait(60)
        time.sleep(0.01)
        return -job

    def give_up(item):
        late.append(item)
        came_back.set()

    everything = threading.Thread(
        target=lambda: finished.extend(run_jobs(range(50), work, 1, timeout=0.3, late=give_up)), daemon=True
    )
    everything.start()
    everything.join(30)
    assert late == [0]
    assert sorted(finished) == [(job, -job) for job in range(50)]


def test_no_thread_goes_on_after_an_error():
    def work(lane, job):
        for item in itertools.count():
            lane.start_item((job, item))
            time.sleep(0.01)
            if job == "bad" and item == 3:
                raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        list(run_jobs(["long", "bad", "another"], work, 2, timeout=60, late=print))
    assert not [thread for thread in threading.enumerate() if isinstance(thread, AbandonableThread)]


def test_a_watchdog_without_memory_for_its_thread_is_short_of_memory(monkeypatch):
    """Then the picture that took it is looked for; any other error would end the run."""

    def fail(*_, **__):
        raise RuntimeError("unable to start watchdog thread")

    monkeypatch.setattr(faulthandler, "dump_traceback_later", fail)
    with pytest.raises(MemoryError):
        Watchdog(5).reset()


def test_threads_of_work_that_nobody_closed_end_before_python_does():
    """As after Ctrl-C: a thread that is in a decoder or in the model when Python ends aborts the process."""
    words = """
import time
from fastdup_ray.extract.worker_threads import run_jobs
def work(lane, job):
    time.sleep(job)
    print("ended", job, flush=True)
going = run_jobs([0, 0.5], work, lanes=2, timeout=60, late=print)
next(going)
"""
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended 0\nended 0.5\n", "")


def test_a_process_that_was_stopped_gives_no_picture_up():
    words = """
import time
from fastdup_ray.extract.worker_threads import run_jobs
def work(lane, job):
    lane.start_item(job)
    print("at work", flush=True)
    time.sleep(0.8)
print(list(run_jobs(["picture"], work, lanes=1, timeout=5, late=lambda item: print("late", item))))
"""
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(6)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=30)[0] == "[('picture', None)]\n"
