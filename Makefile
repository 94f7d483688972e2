# make demo       a short film, larger and sharper       make test    tests and linter
# make fuzz       hostile input of every kind, e.g. make fuzz FUZZ="--count 500 --kind videos"
# make soak       an hour of film through every network of video, e.g. make soak SOAK="--minutes 5"
# make benchmark  every network on every test set in DATA; goes on where it was interrupted
PYTHON ?= $(shell command -v python3.11 || command -v python3)
DATA ?= ../shared/data/test
VENV := .venv
READY := $(VENV)/ready

.PHONY: demo test fuzz soak benchmark clean

demo: $(READY)
	$(VENV)/bin/python super_resolve.py --model vespcn --output results/demonstration.mp4 --overwrite

test: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/python -m pytest

fuzz: $(READY)
	$(VENV)/bin/python tests/fuzz.py $(FUZZ)

soak: $(READY)
	$(VENV)/bin/python tests/soak.py $(SOAK)

benchmark: $(READY)
	$(VENV)/bin/python -m common.benchmark --data $(DATA) --pictures results/pictures \
		--gallery results/gallery.html \
		--report results/benchmark.json --markdown results/benchmark.md

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $(READY)

clean:
	rm -rf $(VENV) results samples checkpoint
