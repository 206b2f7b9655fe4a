# Each target sets up what it needs in .venv and can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test test-slow demo lint clean

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile -m "not slow"

# What takes long: whole trainings, large networks, many calls at once for every kind of file.
test-slow: $(VENV)/installed
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile -m slow

demo: $(VENV)/installed
	$(BIN)/python -m hrnet_tf.cli demo

clean:
	rm -rf $(VENV) demo
