"""A signal reaches the cell that runs, or keeps the next one from beginning; a second one ends everything."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.unattended.interrupts import Interrupts

KERNEL = "import time\ntry:\n print(flush=True); time.sleep(60)\nexcept KeyboardInterrupt:\n time.sleep(60 * %d)"


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """Start what sleeps until it is interrupted, and as a stubborn one goes on sleeping then."""
    with subprocess.Popen([sys.executable, "-c", KERNEL % request.param], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("kernel", [False], indirect=True)
def test_the_first_signal_interrupts_the_kernels_cell(kernel: subprocess.Popen[bytes], number: int) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        with interrupts.reaching(kernel.pid):
            os.kill(os.getpid(), number)
            assert kernel.wait(20) == 0
        with pytest.raises(KeyboardInterrupt), interrupts.reaching(kernel.pid):
            raise AssertionError("another cell was begun")
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("kernel", [True], indirect=True)
def test_the_second_signal_kills_the_kernel(kernel: subprocess.Popen[bytes], number: int) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts, interrupts.reaching(kernel.pid):
        os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == before  # a third does what it did before
        assert kernel.wait(20) == -signal.SIGKILL


def test_between_two_cells_a_signal_keeps_the_next_from_beginning() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), interrupts.reaching(os.getpid()):
            raise AssertionError("another cell was begun")


@pytest.mark.attack(9)
def test_a_dropped_connection_is_no_end_for_what_nohup_started() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts.came
    finally:
        signal.signal(signal.SIGHUP, before)


GONE = """
import os, signal, sys, time
from runbook_lib.unattended.interrupts import Interrupts
with Interrupts() as interrupts:
    print("entered", flush=True)
    while not interrupts.came:
        time.sleep(0.05)
    print("nobody reads this", flush=True)
    open(sys.argv[1], "w").write("summed up")
"""


@pytest.mark.attack(9)
def test_where_the_terminal_is_gone_words_to_it_are_no_error(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(
        [sys.executable, "-c", GONE, str(tmp_path / "summary")],
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        **ends,
    )
    os.close(theirs)
    assert b"entered" in os.read(ours, 100)
    os.close(ours)  # the connection is dropped: the kernel sends SIGHUP
    assert process.wait(20) == 0
    assert (tmp_path / "summary").read_text() == "summed up"
