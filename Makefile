# Every command of this project. `make` alone lists them; ARGS="..." is handed on to the tool.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test coverage fuzz lint format bench soak reports picture map docs constraints clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
FUZZ ?= 20
ARGS ?=
UPGRADE ?=

# pip reads PIP_FIND_LINKS by itself. uv does not, and would take a CUDA build of torch instead of a
# local CPU wheel; its list is separated by commas.
space := $(subst ,, )
comma := ,
ifneq ($(strip $(PIP_FIND_LINKS)),)
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
endif

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed-dev,demo ## Install plait and its tools into .venv

demo: $(VENV)/.installed-demo ## Build demo data, fit a model, evaluate it, show the results
	$(BIN)/plait demo --out demo-run $(ARGS)

# Whole files go to a worker, so that it fits the models of a file once; tests/conftest.py puts the
# heavy ones first.
TESTS := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10

test: lint ## Check style, types and layers, then run the tests
	$(TESTS) $(ARGS)

coverage: $(VENV)/.installed-dev,demo ## Run the tests and count the lines and branches they reach, 90 % at least
	PLAIT_GRAPH_CACHE=off $(TESTS) --cov --cov-report=term $(ARGS)

fuzz: $(VENV)/.installed-dev,demo ## Try the properties on other and more examples each time; FUZZ=20 times as many
	PLAIT_FUZZ=$(FUZZ) $(TESTS) -m hypothesis $(ARGS)

lint: $(VENV)/.installed-dev,demo ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev,demo ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev,demo ## Measure speed and accuracy against their floors
	$(BIN)/python -m benchmarks $(ARGS)

reports: $(VENV)/.installed-dev,demo ## Fit the real data sets (or the demo) and write their HTML reports to reports/
	$(BIN)/python -m benchmarks.reports $(ARGS)

soak: demo $(VENV)/.installed-dev,demo ## Ask a server good and bad things for 20 minutes; its memory must stay
	test -f demo-run/app/app.json || $(BIN)/plait export demo-run/model --out demo-run/app
	$(BIN)/python -m benchmarks.soak demo-run/app $(ARGS)

picture: $(VENV)/.installed-dev,demo ## Fit the demo and draw README's picture from one explained row
	$(BIN)/python -m benchmarks.picture

map: ## List every module with the first line that says what it is
	@$(PYTHON) benchmarks/map.py src/plait

docs: $(VENV)/.installed-docs ## Build the documentation, warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# See the head of constraints.txt. torch keeps its pin: as a bound and not as one of the old pins, which
# uv would take from the index, a CUDA build, even with a CPU wheel of that release at hand.
constraints: $(VENV)/.installed-dev,demo ## Refresh constraints.txt; UPGRADE=--upgrade for newer releases
	@sed '/^torch==/!d' constraints.txt > $(VENV)/torch.txt
	@sed '/^#/d; /^torch==/d' constraints.txt > $(VENV)/pins.txt
	$(BIN)/uv pip compile --quiet --all-extras --no-header --no-annotate --python-version 3.11 \
		$(UPGRADE) --constraint $(VENV)/torch.txt --output-file $(VENV)/pins.txt pyproject.toml
	@sed '/^#/!d' constraints.txt > $(VENV)/constraints.txt
	@sed 's/+cpu$$//' $(VENV)/pins.txt >> $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt

clean: ## Remove what the other commands made, .venv included
	rm -rf $(VENV) .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache \
		build demo-run dist docs/_build htmlcov reports
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras. uv installs about three times faster than pip: the one on PATH is
# used, else one is put into the environment, else pip does the work. uv compiles only when told to, and
# without that every `import torch` takes seconds longer where Python may not write its cache.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@uv=$$(command -v uv || true); \
	if [ -z "$$uv" ] && $(BIN)/python -m pip install --quiet --constraint constraints.txt uv; then \
		uv=$(BIN)/uv; \
	fi; \
	if [ -n "$$uv" ]; then \
		"$$uv" pip install --python $(BIN)/python --compile-bytecode --constraint constraints.txt \
			--editable '.[$*]'; \
	else \
		$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$*]'; \
	fi
	@touch '$@'
