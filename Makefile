# The same commands for a person and for CI. GNU make 3.81 and BSD tools are enough; paths are relative, as the folder's own
# may have spaces in it. Tools are called as `.venv/bin/python -m`: a script's first line may be cut short in a long path.
.NOTPARALLEL:
.SUFFIXES:
.DEFAULT_GOAL := help

ARGS =
SHELL = /bin/sh
python = .venv/bin/python
pytest = $(python) -m pytest
fast = 'not engine and not podman and not redis and not compose and not netns and not slow and not soak'

.PHONY: help demo verify-demo setup setup-dev setup-release engine test test-docs test-fast coverage soak faults bench matrix matrix-short lint format reference docs dist lock clean

help:
	@echo 'make demo        from nothing to a page served by an image that went through a registry and came back'
	@echo '                 (ARGS="--redis" and the like are handed on; see .venv/bin/regctl demo --help)'
	@echo 'make verify-demo the same image on clean engines that have never seen it, docker and podman, beside a Redis'
	@echo 'make test        all tests but the long ones; sets up what they need where it may, skips what it cannot have'
	@echo 'make test-docs   types every line of the cheat sheet, the tutorial and the other pages; the README is part of make test'
	@echo 'make test-fast   the tests that need nothing but Python'
	@echo 'make coverage    which branches the fast tests take'
	@echo 'make soak        the tests that run for minutes, and 10,000 cases of every property'
	@echo 'make faults      what commands do when something breaks in the middle; writes docs/faults.md'
	@echo 'make bench       how long things take, beside docker, skopeo and the limit of a server'
	@echo 'make matrix      the tests that need an engine, on other engines: Docker 26 and 28, Podman 5 (ARGS="--only sid-podman -- TESTS")'
	@echo 'make matrix-short  what a person does first, on Docker 28 with the containerd store and on Podman 5'
	@echo 'make lint        ruff, mypy, the import contract, shellcheck'
	@echo 'make format      lets ruff rewrite what it can'
	@echo 'make reference   docs/cli.md and the schemas anew from help texts and types'
	@echo 'make docs        the documents as a site in build/docs; a link that leads nowhere is an error'
	@echo 'make dist        wheel and sdist in dist/, checked, installed and run'
	@echo 'make engine      sees to it that a container engine answers'
	@echo 'make setup       .venv with regctl in it, nothing else'
	@echo 'make lock        new versions into requirements/*.lock (ARGS=--upgrade for the newest)'
	@echo 'make clean       removes .venv and what tools left here; nothing in the engine, no caches at home'
	@echo 'PYTHON=/path/to/python3 uses that Python (3.10 or newer) instead of the first that is found.'

setup:
	@sh setup/venv.sh run

setup-dev:
	@sh setup/venv.sh dev

setup-release:
	@sh setup/venv.sh release

engine: setup
	@sh setup/engine.sh

demo: setup engine
	@sh setup/parts.sh demo
	@.venv/bin/regctl demo $(ARGS)

verify-demo: setup engine
	@sh setup/parts.sh demo
	@.venv/bin/regctl up
	@.venv/bin/regctl build -t john/get-started:part2 sample_app
	@.venv/bin/regctl push john/get-started:part2
	@.venv/bin/regctl verify john/get-started:part2 --on docker --on podman --with redis --http 4000:80/ --expect-text "$$(sh setup/greeting.sh)" $(ARGS)

# Most of the time is waiting for engines: four at a time keep two cores busy.
test: setup-dev
	@sh setup/parts.sh test
	@sh setup/engine.sh --if-possible
	@$(pytest) -n 4 -m 'not soak and not documents' $(ARGS)

# Each page has an engine of its own, and most begin with an image that has to be made.
test-docs: setup-dev
	@sh setup/parts.sh test
	@sh setup/engine.sh --if-possible
	@$(pytest) -n 4 -m documents tests/e2e tests/engine/verify $(ARGS)

# Some of these wait for what does not come: three at a time keep two cores busy, and a fourth costs more than it brings.
test-fast: setup-dev
	@$(pytest) -n 3 --hypothesis-profile fast -m $(fast) $(ARGS)

# It measures; whether tests pass is what `make test-fast` says. Below Python 3.14, starting a thread fails now and then under a tracer.
coverage: setup-dev
	@$(pytest) -n 4 --hypothesis-profile fast -m $(fast) --cov $(ARGS) || [ $$? = 1 ]

soak: setup-dev
	@sh setup/parts.sh test
	@sh setup/engine.sh
	@$(pytest) -m soak --timeout 3600 $(ARGS)
	@$(pytest) tests/property --hypothesis-profile soak --timeout 3600 $(ARGS)

faults: setup-dev
	@sh setup/parts.sh test
	@sh setup/engine.sh --if-possible
	@$(python) -m tests.faults.run $(ARGS)

bench: setup-dev engine
	@sh setup/parts.sh demo
	@sh setup/parts.sh bench
	@$(python) -m bench.run $(ARGS)

# A clean container for each engine, from Debian's packages: minutes for the first, and long for all.
matrix: setup-dev engine
	@sh setup/parts.sh matrix
	@$(python) -m tests.matrix $(ARGS)

matrix-short: setup-dev engine
	@sh setup/parts.sh matrix
	@$(python) -m tests.matrix --short $(ARGS)

lint: setup-dev
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy
	@$(python) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo
	@sh setup/shell-lint.sh

format: setup-dev
	@$(python) -m ruff check --fix .
	@$(python) -m ruff format .

reference: setup-dev
	@$(python) docs/generate_cli.py
	@$(python) docs/generate_schemas.py

docs: setup-release
	@$(python) -m sphinx -q -E -W --keep-going -c docs . build/docs
	@echo build/docs/index.html

dist: setup-release
	@sh setup/dist.sh

lock: setup-dev
	@sh setup/lock.sh $(ARGS)

clean:
	@rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
