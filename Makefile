# Two commands for a new user: `make demo` and `make test`. Both set up what they need in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.PHONY: demo test lint results teachers compression bundles keywords shipped-spotters pronunciation keyword-search optimum-check device-wheel c-demo arm64-check arm64-demo soak spotter clean

# The whole way, from speech to keyword events. DATA=FOLDER takes real recordings.
demo: $(VENV)/.all
	$(BIN)/compress demo --out runs/demo$(if $(DATA),-$(notdir $(patsubst %/,%,$(DATA)))) $(if $(DATA),--data $(DATA))

# Every check, as CI runs it.
test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The table and pictures of docs/results/first-light.md; about an hour on two cores, resumable.
results: $(VENV)/.all
	$(BIN)/python benchmarks/first_light.py --data $(or $(DATA),../shared/data/speech_commands)

# The table and picture of docs/results/teachers.md; about an hour on two cores, resumable.
teachers: $(VENV)/.benchmarks
	$(BIN)/python benchmarks/teachers.py --data $(or $(DATA),../shared/data)

# Can a search be trusted? Writes docs/results/compress.md; about 90 minutes on two cores, resumable.
compression: $(VENV)/.all
	$(BIN)/python benchmarks/compression.py --data $(or $(DATA),../shared/data/speech_commands)

# What pretraining is worth to keywords with few labels. Writes docs/results/keywords.md; about 90 minutes on two cores,
# resumable.
keywords: $(VENV)/.all
	$(BIN)/python benchmarks/keywords.py --data $(or $(DATA),../shared/data/speech_commands)

# The spotter that ships, in spotters/, and its page; about 40 minutes on two cores, resumable.
shipped-spotters: $(VENV)/.all
	$(BIN)/python benchmarks/shipped_spotters.py --data $(or $(DATA),../shared/data)

# How well a pronunciation is checked. Writes docs/results/pronunciation.md; about 90 minutes on two cores, resumable.
pronunciation: $(VENV)/.benchmarks
	$(BIN)/python benchmarks/pronunciation.py --data $(or $(DATA),../shared/data)

# Is a search for keyword models worth it? Writes docs/results/keyword-search.md and its picture; about 25 minutes of a core,
# resumable.
keyword-search: $(VENV)/.all
	$(BIN)/python benchmarks/keyword_search.py --data $(or $(DATA),../shared/data/speech_commands)

# What goes through Hugging Face's optimum, in an environment of its own (about 2 GB, minutes): its
# transformers is older than the one that the other tests want.
OPTIMUM_VENV ?= .venv-optimum
optimum-check:
	test -x $(OPTIMUM_VENV)/bin/python || $(PYTHON) -m venv $(OPTIMUM_VENV)
	grep -viE '^(transformers|huggingface_hub|tokenizers)==' constraints.txt > $(OPTIMUM_VENV)/constraints.txt
	printf '%s\n' optimum==2.1.0 optimum-onnx==0.1.0 transformers==4.57.6 >> $(OPTIMUM_VENV)/constraints.txt
	$(OPTIMUM_VENV)/bin/python -m pip --disable-pip-version-check --quiet install \
	  --constraint $(OPTIMUM_VENV)/constraints.txt --editable '.[optimum]' pytest hypothesis
	$(OPTIMUM_VENV)/bin/python -m pytest tests/export tests/contracts/test_quantizers.py \
	  tests/contracts/test_precisions.py tests/compress/test_verbs_export.py \
	  tests/compress/test_verbs_export_huggingface.py

# What bundles cost, every family in every precision. Writes docs/results/export.md; about two hours, resumable.
bundles: $(VENV)/.benchmarks
	$(BIN)/python benchmarks/bundles.py --data $(or $(DATA),../shared/data/speech_commands)

# What listening costs beside pip-installable wake-word engines. Writes docs/results/spotter.md; about ten minutes, resumable.
# BUNDLE=... takes a folder with both formats.
spotter: $(VENV)/.benchmarks
	$(BIN)/python benchmarks/spotter.py --data $(or $(DATA),../shared/data) $(if $(filter command environment,$(origin BUNDLE)),--bundle $(BUNDLE))

# An hour of sound through a stream, in seconds: fails where memory grows. BUNDLE=... takes that one.
soak: $(VENV)/.all
	$(BIN)/python benchmarks/soak.py $(BUNDLE)

# The wheel for devices, runtime/ alone as otolite_runtime, into DIST. Needs PYTHON with pip, and no .venv.
DIST ?= dist
device-wheel:
	tree=$$(mktemp -d) && trap 'rm -rf "$$tree"' EXIT && \
	cp runtime/pyproject.toml LICENSE "$$tree" && \
	sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml > "$$tree/VERSION" && \
	cp -r runtime "$$tree/otolite_runtime" && \
	$(PYTHON) -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir "$(DIST)" "$$tree"
	@ls -l "$(DIST)"/otolite_runtime-*.whl

# A bundle in C, without Python: demos/c built, checked on the golden pair and run over WAV.
# The header of ONNX Runtime is found or asked for, see demos/c/README.md.
BUNDLE ?= runs/demo/keywords.bundle
absolute = $(if $(filter /%,$(firstword $(1))),,$(CURDIR)/)$(1)
c-demo: PYTHON := $(if $(wildcard $(BIN)/python),$(CURDIR)/$(BIN)/python,$(PYTHON))
c-demo:
	@$(MAKE) --no-print-directory --directory demos/c run PYTHON="$(PYTHON)" \
	  BUNDLE="$(call absolute,$(BUNDLE))" WAV="$(if $(WAV),$(call absolute,$(WAV)))"

# BUNDLE on an emulated Raspberry Pi 4 beside this machine: by the device wheel's doctor, and by demos/raspberry_pi, which
# is installed there and hears WAV=... (a recording, a folder of clips, or else synthetic speech). Sets up an arm64 system
# once, in CACHE or the user's cache (1 GB, as root, from MIRROR or apt's own); see tests/packaging/arm64_*.py.
arm64-check arm64-demo: PYTHON := $(if $(wildcard $(BIN)/python),$(CURDIR)/$(BIN)/python,$(PYTHON))
arm64-demo: HEARD = $(if $(WAV),--wav "$(WAV)")
arm64-check arm64-demo: arm64-%:
	@PYTHONPATH="$(CURDIR)" $(PYTHON) tests/packaging/arm64_$*.py "$(BUNDLE)" $(HEARD) \
	  $(if $(CACHE),--cache "$(CACHE)") $(if $(MIRROR),--mirror "$(MIRROR)")

$(VENV)/.all $(VENV)/.test $(VENV)/.benchmarks: $(VENV)/.%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 2 GB, minutes) …"
	$(PIP) install --constraint constraints.txt --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) $(OPTIMUM_VENV) runs build dist *.egg-info
