# Two commands do everything on a new machine: `make run` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV    := .venv
BIN     := $(VENV)/bin
PROGRAM := $(VENV)/.installed
STAMP   := $(VENV)/.installed-dev
WS      := tests/integration/clients/node_modules
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check
EXTRAS  := .venv-extras
AUDIT   := .venv-audit
ADVISORIES ?= pypi

.PHONY: help setup run demo test test-page picture test-extras lint audit bench docs clean chromium

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# The program, then its development dependencies.
$(PROGRAM): pyproject.toml compat/tldw/pyproject.toml requirements/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -c requirements/constraints.txt -e .
	$(PIP) --no-deps ./compat/tldw
	touch $@

$(STAMP): $(PROGRAM)
	$(PIP) -c requirements/constraints.txt -e '.[dev]'
	touch $@

# The JavaScript client is tested where npm works.
$(WS): tests/integration/clients/package.json
	-if command -v npm >/dev/null; then npm install --prefix tests/integration/clients --no-package-lock --no-audit --no-fund --silent && touch $(WS); fi

setup: $(PROGRAM)  ## install the program: .venv/bin/echoic

run: $(PROGRAM)  ## start the server on loopback with the model that comes with the install
	$(BIN)/echoic serve

demo: $(PROGRAM)  ## stream a real recording through a server of its own, live transcript in the terminal
	$(BIN)/echoic demo

# The page's browsers play audio in real time, so only three run beside each other.
test: $(STAMP) $(WS)  ## all tests; those of the page if there is a Chromium
	$(BIN)/python -m pytest -n 4 --dist loadfile --ignore tests/web
	$(BIN)/python -m pytest -n 3 --dist load tests/web

# Installs Debian's Chromium if root calls it; other users get the command to run.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; \
	  else echo "The page is tested in Chromium: sudo apt-get install chromium" >&2; exit 1; fi

test-page: $(STAMP) $(WS) chromium  ## tests of the page, in Chromium, which it installs where it can
	$(BIN)/python -m pytest -n 3 --dist load tests/web

picture: $(STAMP) chromium  ## draw the pictures in docs/images from the page itself; needs the recordings
	ECHOIC_PICTURES=docs/images $(BIN)/python -m pytest tests/web/test_pictures.py

# PyTorch, NeMo, MLX and faster-whisper in an environment of their own, in versions that work together.
$(EXTRAS)/.installed: pyproject.toml requirements/extras.txt
	test -x $(EXTRAS)/bin/python || $(PYTHON) -m venv $(EXTRAS)
	$(EXTRAS)/bin/python -m pip install --quiet --disable-pip-version-check -c requirements/extras.txt \
	  torch -e '.[dev,nemo,mlx,whisper,optimize,eval]'
	touch $@

test-extras: $(EXTRAS)/.installed  ## tests of the optional models, in an environment of 3 GB
	HF_HUB_OFFLINE=1 $(EXTRAS)/bin/python -m pytest tests/integration/extras tests/contracts \
	  tests/unit/engines/parakeet tests/unit/engines/test_whisper.py

lint: $(STAMP)  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(AUDIT)/.installed:
	test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.10'
	touch $@

# Strict: a package that the service does not know about counts as a failure.
audit: $(AUDIT)/.installed  ## look the pinned packages up among known vulnerabilities (ADVISORIES=pypi or osv)
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --vulnerability-service $(ADVISORIES) \
	  -r requirements/constraints.txt -r requirements/extras.txt

bench: $(STAMP)  ## measure, print ratios, write tools/benchmarks/results/*.json; PARTS="load memory": only these
	$(BIN)/python -m tools.benchmarks $(PARTS)

docs: $(STAMP)  ## check that every command and link in the documents holds, and build their site
	$(BIN)/python -m echoic.server.settings.document > docs/settings.md
	$(BIN)/python -m pytest tests/docs
	$(BIN)/python docs/build_site.py
	@echo 'The site is in build/site. To look at it: $(BIN)/python -m http.server 8080 --bind 127.0.0.1 -d build/site'

clean:  ## remove what setup made
	rm -rf build $(VENV) $(EXTRAS) $(AUDIT) tests/integration/clients/node_modules
