"""The first signal asks, the second stops."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from logpi.train.interrupt import Interrupt


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_sets_a_flag_and_the_second_raises(name, capfd):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert not interrupt
        os.kill(os.getpid(), number)
        assert interrupt
        assert interrupt.requested == name
        with pytest.raises(KeyboardInterrupt, match=f"{name}, after {name}"):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    said = capfd.readouterr().err
    assert f"{name}: stopping after this iteration" in said
    assert said.count("\n") == 2


def test_quiet_says_nothing(capfd):
    with Interrupt(quiet=True) as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt
    assert capfd.readouterr().err == ""


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Interrupt():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_it_does_nothing():
    seen = []

    def work():
        with Interrupt() as interrupt:
            seen.append((bool(interrupt), signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_a_program_that_is_asked_to_end_finishes_its_iteration():
    script = """
        import sys, time
        from logpi.train.interrupt import Interrupt
        with Interrupt() as interrupt:
            print("ready", flush=True)
            while not interrupt:
                time.sleep(0.01)
            print("checkpoint")
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "checkpoint\n")
    assert "SIGTERM: stopping after this iteration" in err
