# Everything happens in .venv; nothing is installed elsewhere. See docs/how-to/install.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NO_PYTHON := echo "$(PYTHON) is not there: install Python 3.11 or newer, or name one with PYTHON=" >&2
SETUP = command -v $(PYTHON) >/dev/null || { $(NO_PYTHON); exit 1; }; \
	$(PYTHON) tools/setup_env.py --python $(PYTHON)

# Unit tests run in two processes, each with one thread for arithmetic. Tests of nodes are timed, so
# that they run one after the other. Those of recordings have processes of their own: the conversion to
# videos hung now and then in one that had run tests of operators before, for a reason not found yet.
UNIT = OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

# Talk ROS 2 to this machine only, unless the caller wants it otherwise.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
export INSTRUCTION

.DEFAULT_GOAL := setup
.PHONY: setup setup-run setup-gpu demo lint test test-all clean help

setup: ## Make .venv with everything: running, training, engines, serving and testing
	@$(SETUP) train pretrained openvino tensorrt-rtx quantize serve data scale test

setup-run: ## Make .venv with what runs only: no torch
	@$(SETUP)

setup-gpu: ## Make .venv with what runs, on an NVIDIA GPU; it stays so until `make clean`
	@$(SETUP) gpu

demo: setup-run ## Do one sentence in simulation: make demo INSTRUCTION="lift the red cube"
	@$(BIN)/vla_ros demo $${INSTRUCTION:+"$$INSTRUCTION"}

lint: setup ## Check style, types and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## Run the checks and the tests, less those that take long or need a GPU
	$(UNIT) -m "not slow and not gpu" test/unit --ignore=test/unit/data
	$(UNIT) -m "not slow and not gpu" test/unit/data
	$(BIN)/pytest -m "not slow and not gpu" test/ros

test-all: lint ## Run the checks and all tests that need no GPU, those of Open3D too
	@$(SETUP) train pretrained test points
	$(UNIT) -m "not gpu" test/unit --ignore=test/unit/data
	$(UNIT) -m "not gpu" test/unit/data
	$(BIN)/pytest -m "not gpu" test/ros

clean: ## Remove .venv and what the tools keep; models, recordings and runs stay
	rm -rf $(VENV) build install log .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache vla_ros.egg-info
	find vla_ros interfaces launch test tools bench -name __pycache__ -prune -exec rm -rf {} +

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
