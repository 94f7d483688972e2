# make demo    a photograph, larger and sharper          make test    tests and linter
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
READY := $(VENV)/ready

.PHONY: demo test clean

demo: $(READY)
	$(VENV)/bin/python super_resolve.py --output results/demonstration.png --overwrite

test: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/python -m pytest

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $(READY)

clean:
	rm -rf $(VENV) results samples checkpoint
