# Needs make and a python3 from 3.11 to 3.14, nothing else.
# Every target sets up `.venv` first, which costs nothing once it is there.

.DEFAULT_GOAL := help
.PHONY: help setup run test quick attacks soak integrations bench lab record pictures check lock wheel

# The first Python that fits; another one: make PYTHON=python3.12 run
PYTHON ?= $(or $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& { echo $$python; break; }; done),python3)
BIN := .venv/bin

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## set up .venv from requirements.lock and do nothing else
	@$(PYTHON) tools/setup_environment.py

run: setup ## run the whole runbook, unattended, on the local mesh
	@$(BIN)/runbook run local

# Where the environment keeps Python from writing bytecode, each of the suite's many processes would compile anew.
test: setup ## every test once, the stored outputs of the notebooks included
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder tests

# Tests of plain values and of the tree, which need no local AWS and no kernel.
QUICK := attacks configuration copies control_plane_mesh_rules door errors forecast generated_definitions hostile_parameters journal layers lock \
	mesh_spec parameters peer_alarms peer_rules pictures plain_yaml plan printable project proof readme record redaction serving \
	shift snapshot step task_definition two_files verdict

quick: check ## the pure tests, lint and types: about a minute
	$(BIN)/pytest -q -n 2 $(QUICK:%=tests/test_%.py)

attacks: setup ## the hostile cases of docs/attacks.md, counted by their numbers
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "attack and not soak" tests

soak: setup ## the statistical, kill, load and fresh-machine cases, repeated
	$(BIN)/pytest -m soak --timeout 3600 tests

integrations: setup ## what stands beside other systems, with their own tools
	$(BIN)/pytest -m integration --timeout 1200 tests

bench: setup ## measure and print the figures of docs/figures.md
	@$(BIN)/python tools/bench.py

lab: setup ## open copies of the notebooks in JupyterLab, on 127.0.0.1; FRESH=1: new copies
	@$(BIN)/python tools/copy_notebooks.py $(if $(FRESH),--fresh)
	@# --allow-root: development containers run as root; Lab listens on loopback only and asks for its token.
	@$(BIN)/jupyter lab --ip 127.0.0.1 --allow-root lab/00_check_environment.ipynb

record: setup ## record the notebooks' stored outputs again; MEASURED=1: the measured ones too
	@$(BIN)/python tools/record_notebooks.py $(if $(MEASURED),--measured)

pictures: setup ## make the pictures of JupyterLab again, light and dark
	@$(BIN)/python tools/make_pictures.py

check: setup ## lint, formatting, types, and that every import is declared
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/deptry runbook_lib

wheel: setup ## build the wheel, which runs without a clone, into dist/
	@$(BIN)/python -m hatchling build -t wheel

lock: setup ## bring requirements.lock in line with pyproject.toml
	@$(BIN)/python tools/setup_environment.py --lock
