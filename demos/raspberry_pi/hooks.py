"""What a word can do: run a command, or pulse a pin. Neither keeps the microphone waiting."""

import importlib
import os
import shlex
import shutil
import subprocess
import sys
from typing import Any, Protocol

_LAST_WORDS_S = 5.0
"""What a running command is given when the program ends."""


class HookError(Exception):
    """A hook that cannot be."""


class Heard(Protocol):
    """What hooks read of an event."""

    label: str
    score: float
    start_s: float
    end_s: float


class Command:
    """Runs a program for each event; while one still runs, no second is started."""

    def __init__(self, text: str) -> None:
        """Look the program up.

        Args:
            text: as typed into a shell, but no shell reads it: `$`, `|` and `>` mean nothing.

        Raises:
            HookError: it is empty, its quotes are not closed, or there is no such program.
        """
        try:
            self._words = shlex.split(text)
        except ValueError as error:
            raise HookError(f"the command {text!r} cannot be read: {error}") from None
        if not self._words:
            raise HookError("there is no command to run; write WORD=COMMAND")
        if shutil.which(self._words[0]) is None:
            raise HookError(
                f"there is no program {self._words[0]!r} to run; give its path, and make it "
                "executable"
            )
        self._running: subprocess.Popen[bytes] | None = None

    def __call__(self, event: Heard) -> None:
        """Start it and go on."""
        if self._running is not None and self._running.poll() is None:
            print(f"warning: {self._words[0]} still runs; not started again", file=sys.stderr)
            return
        told = {
            "OTOLITE_LABEL": event.label,
            "OTOLITE_SCORE": f"{event.score:.4f}",
            "OTOLITE_START_S": f"{event.start_s:.3f}",
            "OTOLITE_END_S": f"{event.end_s:.3f}",
        }
        try:
            self._running = subprocess.Popen(
                self._words, env={**os.environ, **told}, stdin=subprocess.DEVNULL
            )
        except OSError as error:  # gone since, or no memory: the next word may do better
            print(f"warning: {self._words[0]} cannot be run: {error}", file=sys.stderr)

    def close(self) -> None:
        """Give a running program its last seconds."""
        if self._running is None:
            return
        try:
            self._running.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._running.terminate()
            self._running.wait()


class Pin:
    """Pulses a pin for each event, by gpiozero, which Raspberry Pi OS brings."""

    def __init__(self, number: int, pulse_s: float) -> None:
        """Take the pin.

        Args:
            number: BCM's, as `pinout` prints it.
            pulse_s: how long it is high, in s.

        Raises:
            HookError: gpiozero is not installed, there is no such pin, or it is in use.
        """
        if not pulse_s > 0:
            raise HookError(f"--pulse-s must be above 0, got {pulse_s}")
        try:
            gpiozero: Any = importlib.import_module("gpiozero")
        except ImportError:
            raise HookError(
                "--gpio needs gpiozero: pip install gpiozero lgpio, or leave --gpio out"
            ) from None
        try:
            self._output = gpiozero.DigitalOutputDevice(number)
        except Exception as error:  # its pin factories raise what their libraries do
            raise HookError(f"pin {number} cannot be used: {error}") from error
        self._pulse_s = pulse_s

    def __call__(self, event: Heard) -> None:
        """Begin a pulse and go on; one that runs begins anew."""
        self._output.blink(on_time=self._pulse_s, off_time=0, n=1, background=True)

    def close(self) -> None:
        """Let go of the pin, low; a second time does nothing."""
        self._output.close()
