# `make demo` and `make test` do all the set-up themselves, from any state; everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Nothing in the demo or the tests may reach the Hub.
export HF_HUB_OFFLINE := 1

# An environment whose Python is gone or broken is none.
ifeq ($(shell $(BIN)/python -m pip --version 2>/dev/null),)
$(shell rm -f $(VENV)/.ready)
endif

.PHONY: setup demo app test lint audit docs screenshots artifacts format clean

setup: $(VENV)/.ready

# Made again when the requirements change or when it was left half-made.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "torch" setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	touch $@

demo: setup
	rm -rf demo
	$(BIN)/lyra demo --output_dir demo

# The web page, on this machine's own address.
app: setup
	HF_HUB_OFFLINE=0 $(BIN)/lyra app

test: setup lint audit docs
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Secrets in the files, and advisories on the dependencies. Checksums look like keys in hexadecimal, and the letters of an
# alphabet like one in base 64.
audit: setup
	find . \( -name .git -o -name .venv -o -name runs -o -name demo -o -name lyra_models -o -name build -o -name dist -o -path ./data -o -name '.*_cache' -o -name __pycache__ \) -prune \
		-o -type f -print0 | xargs -0 $(BIN)/detect-secrets-hook --disable-plugin HexHighEntropyString --exclude-lines '"letters": "'
	$(BIN)/python scripts/tools/audit.py

# The site, in build/site; a broken link is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The pictures of the web page in the documentation; needs chromium and chromium-driver.
screenshots: setup
	$(BIN)/python scripts/tools/screenshots.py

# A complete Hub repository of each model in model_cards, in dist/hub.
artifacts: setup
	$(BIN)/python scripts/tools/build_artifacts.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
