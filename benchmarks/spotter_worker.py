"""One spotter in an environment of its own: hears a file, tells what that took, as JSON.

Run by benchmarks/spotter.py with the Python of that environment, on one core and one thread.

    python spotter_worker.py '{"kind": "pymicro", "pcm": "speech.pcm", ...}'

Samples come in blocks of 80 ms, int16 as a microphone gives them. Times are of the processor, as
other programs may run, and of the spotter alone: reading the file is left out. Memory is what the
system says that this process ever held, Python included.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

BLOCK_BYTES = 2_560
BLOCK_S = 0.08
Feed = Callable[[bytes], int]
"""Takes a block, and gives the number of events in it."""


def main() -> None:
    """Print one object."""
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {task["core"]})
    feed = KINDS[task["kind"]](task)
    row: dict[str, Any] = {
        "ready_s": time.monotonic() - task["started_s"],
    }
    if feed is not None:
        row |= heard(feed, task["pcm"], task["passes"], task["paced"])
    row |= {"peak_rss_kb": status("VmHWM"), "imported_rss_kb": task.get("imported_rss_kb")}
    print(json.dumps(row))


def heard(feed: Feed, path: str, passes: int, paced: bool) -> dict[str, Any]:
    """What hearing the file takes; in real time, if `paced`."""
    spent_s, events = [], 0
    due_s = time.monotonic()
    for block in blocks(path, passes):
        if paced:
            due_s += BLOCK_S
            time.sleep(max(0.0, due_s - time.monotonic()))
        begin_s = time.process_time()
        events += feed(block)
        spent_s.append(time.process_time() - begin_s)
    spent_s.sort()
    return {
        "cpu_s_per_s": sum(spent_s) / (len(spent_s) * BLOCK_S),
        "p50_ms": spent_s[len(spent_s) // 2] * 1e3,
        "p99_ms": spent_s[len(spent_s) * 99 // 100] * 1e3,
        "events": events,
    }


def blocks(path: str, passes: int) -> Iterator[bytes]:
    """Read one by one: what is held counts as the spotter's memory."""
    with open(path, "rb") as file:
        for _ in range(passes):
            file.seek(0)
            while len(block := file.read(BLOCK_BYTES)) == BLOCK_BYTES:
                yield block


def status(name: str) -> int:
    """A line of this process's status, in kB; a peak that no parent's counts into."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def otolite(task: dict[str, Any]) -> Feed:
    """The device wheel's stream, with as many of the bundle's keywords as are asked for."""
    import dataclasses

    import numpy as np
    import otolite_runtime

    model = otolite_runtime.load(task["bundle"])
    decision = model.manifest.keyword_decision
    kept = dataclasses.replace(
        decision,
        keywords=decision.keywords[: task["keywords"]],
        thresholds={
            word: threshold
            for word, threshold in decision.thresholds.items()
            if word in decision.keywords[: task["keywords"]]
        },
    )
    manifest = dataclasses.replace(model.manifest, decision=kept)
    stream = dataclasses.replace(model, manifest=manifest).stream()
    return lambda block: len(stream.push(np.frombuffer(block, dtype=np.int16)))


def pymicro(task: dict[str, Any]) -> Feed:
    """pymicro-wakeword: features once, then each keyword's model."""
    from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

    words = [Model.ALEXA, Model.HEY_JARVIS, Model.HEY_MYCROFT, Model.OKAY_NABU]
    spotters = [MicroWakeWord.from_builtin(word) for word in words[: task["keywords"]]]
    features = MicroWakeWordFeatures()

    def feed(block: bytes) -> int:
        return sum(
            bool(spotter.process_streaming(frame))
            for frame in features.process_streaming(block)
            for spotter in spotters
        )

    return feed


def pyopen(task: dict[str, Any]) -> Feed:
    """pyopen-wakeword: embeddings once, then each keyword's model."""
    from pyopen_wakeword import Model, OpenWakeWord, OpenWakeWordFeatures

    words = [Model.ALEXA, Model.HEY_JARVIS, Model.HEY_MYCROFT, Model.OKAY_NABU]
    spotters = [OpenWakeWord.from_builtin(word) for word in words[: task["keywords"]]]
    features = OpenWakeWordFeatures.from_builtin()

    def feed(block: bytes) -> int:
        return sum(
            probability > 0.5  # the package's own default
            for embeddings in features.process_streaming(block)
            for spotter in spotters
            for probability in spotter.process_streaming(embeddings)
        )

    return feed


def numpy_alone(task: dict[str, Any]) -> None:
    """What every one of them needs."""
    import numpy  # noqa: F401

    task["imported_rss_kb"] = status("VmRSS")


def onnxruntime_alone(task: dict[str, Any]) -> None:
    """numpy and the engine, which runs the bundle's graph by itself."""
    import numpy as np
    import onnxruntime

    task["imported_rss_kb"] = status("VmRSS")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = os.path.join(task["bundle"], "model.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    zeros = {node.name: np.zeros(node.shape, np.float32) for node in session.get_inputs()}
    for _ in range(100):
        session.run(None, zeros)


def litert_alone(task: dict[str, Any]) -> None:
    """The same of LiteRT."""
    import numpy  # noqa: F401
    from ai_edge_litert.interpreter import Interpreter

    task["imported_rss_kb"] = status("VmRSS")
    path = os.path.join(task["bundle"], "model.tflite")
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    for _ in range(100):
        interpreter.invoke()


KINDS: dict[str, Callable[[dict[str, Any]], Feed | None]] = {
    "otolite": otolite,
    "pymicro": pymicro,
    "pyopen": pyopen,
    "numpy": numpy_alone,
    "onnxruntime": onnxruntime_alone,
    "litert": litert_alone,
}


if __name__ == "__main__":
    main()
