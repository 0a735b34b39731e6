PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Small tensors: more threads than one only wait for each other.
export OMP_NUM_THREADS ?= 1

STYLE := --config 'line-length = 140' --config 'target-version = "py311"' --config 'lint.select = ["I", "RUF022", "UP"]' .

.PHONY: demo test quick lint format bench deep clean

demo: $(VENV)/installed ## Runs the main job, NUTS, on the eight schools data.
	$(BIN)/poutine infer interpreters/examples/eight_schools.py --data interpreters/examples/eight_schools.json --target-accept 0.95

test: lint ## Passes all of the tests, the slow ones too.
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov=poutine --cov=interpreters --cov-branch --cov-report=term-missing:skip-covered
	$(BIN)/python -m coverage report --include='poutine/*' --skip-covered --fail-under=100

quick: $(VENV)/installed ## The tests that take under a second each.
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/installed
	$(BIN)/flake8
	$(BIN)/ruff check $(STYLE)
	$(BIN)/ruff format --check $(STYLE)
	$(BIN)/mypy

format: $(VENV)/installed ## Orders imports and lays out the code.
	$(BIN)/ruff check --fix $(STYLE)
	$(BIN)/ruff format $(STYLE)

deep: $(VENV)/installed ## Puts the laws to tens of thousands of random programs, others in each run: half an hour or more.
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest -n 2 --dist worksteal tests/laws

bench: $(VENV)/benchmarks ## Prints the tables of speed, side by side with Pyro, NumPyro, nutpie and Stan.
	$(BIN)/python -m tests.benchmarks.tracing
	$(BIN)/python -m tests.benchmarks.kernels
	$(BIN)/python -m tests.benchmarks.nuts
	$(BIN)/python -m tests.benchmarks.lockstep
	$(BIN)/python -m tests.benchmarks.enumeration

$(VENV)/installed: setup.cfg pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[test]'
	touch $@

$(VENV)/benchmarks: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable '.[test,benchmarks]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
