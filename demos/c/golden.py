"""Write a bundle's golden pair as plain files for the C program, and as a recording to stream.

`python golden.py BUNDLE FOLDER` verifies the bundle, digests included, and writes golden.json
(shapes and tolerance), pcm.f32, posteriors.f32 (this processor's float32, row by row) and
golden.wav (the first row at 16 bits). Posteriors and tolerance are those of model.onnx.
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np

from runtime import RuntimeFault
from runtime.atomic import replacing_folder
from runtime.bundle import read_bundle
from runtime.faults import BundleFault

MODEL = "model.onnx"
"""The graph that the C program runs."""


def write(bundle_path: Path, out: Path) -> None:
    """Write the plain files into the folder `out`, whole or not at all.

    Raises:
        BundleFault: a bundle that is damaged, or holds no model.onnx.
        OSError: `out` cannot be written.
    """
    bundle = read_bundle(bundle_path)
    if MODEL not in bundle.files:
        raise BundleFault(
            f"{bundle_path}: holds {', '.join(bundle.manifest.model_files)} and no {MODEL}, which "
            "the C program runs. Export with --format onnx."
        )
    golden = bundle.golden(MODEL)
    batch, samples = golden.pcm.shape
    with replacing_folder(out) as folder:
        shape = {"batch": batch, "samples": samples, "tolerance": golden.tolerance}
        (folder / "golden.json").write_text(json.dumps(shape) + "\n", encoding="ascii")
        golden.pcm.tofile(folder / "pcm.f32")
        golden.posteriors.tofile(folder / "posteriors.f32")
        scaled = np.clip(np.round(golden.pcm[0] * 32768.0), -32768, 32767)
        with wave.open(str(folder / "golden.wav"), "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(2)
            recording.setframerate(bundle.manifest.sample_rate)
            recording.writeframes(scaled.astype("<i2").tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python golden.py BUNDLE FOLDER")
    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]))
    except (RuntimeFault, OSError) as fault:
        sys.exit(f"error: {fault}")
