"""Words that do something: a microphone's keywords, handed to commands and to a pin.

    python spotter.py keywords.bundle --on "yes=aplay ding.wav" --gpio 17

Ends by Ctrl-C or SIGTERM, which is how systemd stops it.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import FrameType

from hooks import Command, HookError, Pin

try:
    import otolite_runtime as runtime  # the device wheel
    from otolite_runtime.listen import wav_blocks
except ImportError:
    import runtime  # beside the sources
    from runtime.listen import wav_blocks


def main(arguments: Sequence[str] | None = None) -> int:
    """Listen until told to stop; 0 done, 1 the work failed, 2 the call was wrong."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, stop)
    try:
        model = runtime.load(options.bundle)
        keywords = model.manifest.keyword_decision.keywords
        with ExitStack() as open_hooks:
            hooks = wanted(options, keywords)
            for hook in (hook for found in hooks.values() for hook in found):
                open_hooks.callback(hook.close)
            print(f"listening for {', '.join(keywords)}", file=sys.stderr, flush=True)
            for event in events(model, options):
                print(f"{event.start_s:9.2f} s  {event.label}  {event.score:.2f}", flush=True)
                for hook in hooks[event.label]:
                    hook(event)
    except (runtime.RuntimeFault, HookError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 0


def events(model: runtime.Model, options: argparse.Namespace) -> Iterator[runtime.Event]:
    """Of the microphone, or of a recording."""
    if options.wav is None:
        return runtime.listen(model, device=options.device)
    return runtime.listen(model, wav_blocks(options.wav, model.sample_rate))


def wanted(options: argparse.Namespace, keywords: Sequence[str]) -> dict[str, list[Command | Pin]]:
    """Which hooks each word has.

    Raises:
        HookError: a word that the bundle does not listen for, or nothing to run for one.
    """
    hooks: dict[str, list[Command | Pin]] = {word: [] for word in keywords}
    for text in options.on:
        word, separator, command = text.partition("=")
        if not separator:
            raise HookError(
                f'--on takes WORD=COMMAND, got {text!r}; such as --on "yes=aplay a.wav"'
            )
        if word not in hooks:
            raise HookError(
                f"the bundle does not listen for {word!r}, but for {', '.join(keywords)}"
            )
        hooks[word].append(Command(command))
    if options.gpio is not None:
        pin = Pin(options.gpio, options.pulse_s)
        for found in hooks.values():
            found.append(pin)
    return hooks


def stop(_number: int, _frame: FrameType | None) -> None:
    """What Ctrl-C does, so that hooks are closed."""
    raise KeyboardInterrupt


def device(text: str) -> int | str:
    """A number stays one: sounddevice takes "1" for a part of a name."""
    return int(text) if text.isdigit() else text


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description="Keywords from a microphone, handed to commands and to a GPIO pin.",
        epilog='Example: python spotter.py keywords.bundle --on "yes=aplay ding.wav" --gpio 17',
    )
    made.add_argument("bundle", help="a bundle's folder or .zip")
    made.add_argument(
        "--on",
        action="append",
        default=[],
        metavar="WORD=COMMAND",
        help="run a command when the word is heard; repeatable. It sees OTOLITE_LABEL, "
        "OTOLITE_SCORE, OTOLITE_START_S and OTOLITE_END_S, and no shell reads it",
    )
    made.add_argument(
        "--gpio", type=int, metavar="PIN", help="pulse this pin (BCM number) on every word"
    )
    made.add_argument("--pulse-s", type=float, default=1.0, help="how long, in s (1)")
    made.add_argument(
        "--device", type=device, help="the microphone's number or name; `python -m sounddevice`"
    )
    made.add_argument("--wav", help="a recording in place of the microphone")
    return made


if __name__ == "__main__":
    sys.exit(main())
