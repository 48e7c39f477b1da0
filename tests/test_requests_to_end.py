"""Signals that ask a program to end, and their echoes."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time

import pytest

from sfmarl.run.stopping import signals_noted
from sfmarl.signals import ECHO_SECONDS, Interrupted, raised

SIGNALLED_TWICE = """
import os, signal, time
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.01)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.01)
"""


def test_an_echo_during_an_import_neither_breaks_it_nor_is_the_request_lost(tmp_path, monkeypatch):
    (tmp_path / "signalled_twice.py").write_text(SIGNALLED_TWICE)
    monkeypatch.syspath_prepend(tmp_path)

    def program():
        with raised():
            importlib.import_module("signalled_twice")
            time.sleep(5)

    with pytest.raises(Interrupted):
        program()
    assert "signalled_twice" in sys.modules


def test_an_echo_does_not_interrupt_the_cleaning_up():
    cleaned = []

    def program():
        with raised():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                cleaned.append(True)

    with pytest.raises(Interrupted):
        program()
    assert cleaned


def test_a_second_request_is_heard_once_the_echoes_are_over():
    with signals_noted() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        time.sleep(ECHO_SECONDS)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
