#!/bin/sh
# A spotter that starts with the machine: sudo ./install.sh otolite_runtime-*.whl keywords.bundle
set -eu

fail() {
    echo "error: $1" >&2
    exit "${2:-1}"
}

[ $# -eq 2 ] || fail "usage: sudo ./install.sh WHEEL BUNDLE (of make device-wheel and compress export)" 2
wheel=$1 bundle=$2
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix=${PREFIX:-/opt/otolite}
units=${UNITS:-/etc/systemd/system}
engine=${ENGINE:-onnx} # or tflite

[ -f "$wheel" ] || fail "there is no wheel $wheel; make device-wheel writes one into dist/"
[ -f "$bundle/manifest.json" ] || fail "$bundle is no bundle's folder; compress export writes one"
command -v python3 >/dev/null || fail "there is no python3: apt-get install python3-venv"
mkdir -p "$prefix" "$units" 2>/dev/null && [ -w "$prefix" ] && [ -w "$units" ] ||
    fail "$prefix and $units cannot be written; run it by sudo"

# Raspberry Pi OS brings gpiozero as a package of its own.
[ -x "$prefix/venv/bin/python" ] || python3 -m venv --system-site-packages "$prefix/venv"
wheel=$(CDPATH='' cd -- "$(dirname -- "$wheel")" && pwd)/$(basename -- "$wheel")
"$prefix/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
    "otolite-runtime[$engine] @ file://$wheel" sounddevice

# The new bundle must run here before it takes the old one's place.
rm -rf "$prefix/new.bundle"
cp -R "$bundle" "$prefix/new.bundle"
"$prefix/venv/bin/python" -m otolite_runtime doctor "$prefix/new.bundle" >/dev/null ||
    fail "the bundle does not run on this machine; nothing was changed"
rm -rf "$prefix/keywords.bundle"
mv "$prefix/new.bundle" "$prefix/keywords.bundle"
cp "$here/spotter.py" "$here/hooks.py" "$prefix/"

sed "s|@PREFIX@|$prefix|g" "$here/otolite-spotter.service" >"$units/otolite-spotter.service.new"
mv "$units/otolite-spotter.service.new" "$units/otolite-spotter.service"
if command -v systemctl >/dev/null && [ -z "${NO_START:-}" ]; then
    systemctl daemon-reload
    systemctl enable --now otolite-spotter
    systemctl restart otolite-spotter
    echo "listening; journalctl --follow --unit otolite-spotter shows what is heard"
else
    echo "installed; $prefix/venv/bin/python $prefix/spotter.py $prefix/keywords.bundle listens"
fi
