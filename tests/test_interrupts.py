"""A signal reaches the cell that runs, or keeps the next one from beginning; a second one ends everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from runbook_lib.interrupts import Interrupts

KERNEL = "import time\ntry:\n print(flush=True); time.sleep(60)\nexcept KeyboardInterrupt:\n time.sleep(60 * %d)"


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """Start what sleeps until it is interrupted, and as a stubborn one goes on sleeping then."""
    with subprocess.Popen([sys.executable, "-c", KERNEL % request.param], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
