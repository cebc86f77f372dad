# `make help` lists what there is. The first run of a target makes .venv; later ones start at once.

PYTHON ?= python3
# PyTorch is installed apart from requirements.lock, because its builds differ by machine. A laptop without a GPU takes
# the small CPU build with TORCH_INDEX=<address of PyTorch's CPU package index>.
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
# What `make demo` and `make up` keep their data in.
DATA_DIR ?= .milepost
# More arguments for pytest, for example PYTEST="-k resume".
PYTEST ?=

BIN := .venv/bin
export PYTHONPATH := $(CURDIR)
export PYTHONUNBUFFERED := 1
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: ## Make or update .venv with everything that tests need (every other target does it by itself)
	@$(PYTHON) deploy/install.py --dev --torch "$(TORCH)" --torch-index "$(TORCH_INDEX)"

.PHONY: install-run
install-run:
	@$(PYTHON) deploy/install.py --torch "$(TORCH)" --torch-index "$(TORCH_INDEX)"

.PHONY: demo
demo: install-run vendor ## Start everything and train a small language model; Ctrl-C ends it
	@exec $(BIN)/python -m milepost demo --data-dir $(DATA_DIR)

.PHONY: up
up: install-run vendor ## Start the whole stack on this machine; Ctrl-C ends it
	@exec $(BIN)/python -m milepost up --data-dir $(DATA_DIR)

.PHONY: test
test: install vendor-tests ## Run the tests (unit, integration, end to end, browser); CHECK=1: `make check` beside them
	@exec $(BIN)/python -m tests $(if $(CHECK),--check) $(PYTEST)

.PHONY: check
check: install lint format-verify imports protos-verify docs-verify page-types-verify lock-verify openapi-verify ## Everything that is checked without running: style, types, imports, contract

.PHONY: lint
lint: ## Style and types; quick, made to run before every commit
	@[ -x $(BIN)/ruff ] || $(MAKE) install
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python deploy/lint_page.py

.PHONY: format
format: ## Put the code in the project's format
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet . ; $(BIN)/python deploy/lint_page.py --format

.PHONY: format-verify
format-verify: ## Fail where `make format` would change something
	@$(BIN)/ruff format --quiet --check . || { echo "run: make format"; exit 1; }

.PHONY: imports
imports: ## Check who imports whom
	@$(BIN)/lint-imports --no-logo > .import-linter.log 2>&1 || { cat .import-linter.log; rm -f .import-linter.log; exit 1; }; rm -f .import-linter.log

.PHONY: protos
protos: ## Generate milepost/api from protos/
	@$(BIN)/python deploy/protos.py

.PHONY: protos-verify
protos-verify: ## Fail if milepost/api is not what protos/ gives, or the contract broke
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against protos/contract.binpb
	@$(BIN)/python deploy/protos.py --verify

.PHONY: docs
docs: ## Write docs/configuration.md from the fields of a configuration
	@$(BIN)/python deploy/reference.py

.PHONY: docs-verify
docs-verify:
	@$(BIN)/python deploy/reference.py --verify

.PHONY: page-types
page-types: ## Write the messages of the API as types for the page's modules
	@$(BIN)/python deploy/page_types.py

.PHONY: page-types-verify
page-types-verify:
	@$(BIN)/python deploy/page_types.py --verify

.PHONY: openapi-verify
openapi-verify: ## Lint the OpenAPI document with spectral and redocly (installs them with npm at first)
	@$(BIN)/python deploy/lint_openapi.py

.PHONY: protos-release
protos-release: ## Make the contract as it is now the one that later versions may not break
	@$(BIN)/buf build --exclude-source-info -o protos/contract.binpb

.PHONY: lock
lock: ## Resolve the dependencies anew into the lock files (needs uv)
	@uv pip compile --quiet pyproject.toml --extra server --extra trainer --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --output-file requirements.lock
	@uv pip compile --quiet pyproject.toml --constraint requirements.lock --extra server --extra trainer --extra dev --extra bench --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --output-file requirements-dev.lock
	@uv pip compile --quiet deploy/clients/python.in --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --output-file deploy/clients/python.txt
	@uv pip compile --quiet pyproject.toml deploy/integrations.in --universal --generate-hashes --no-header --no-annotate --python-version 3.11 --output-file deploy/integrations.txt

.PHONY: lock-verify
lock-verify: ## Fail if the lock files lack something pyproject.toml asks for
	@$(BIN)/python deploy/lock.py

.venv-peers: deploy/peers.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip install -q -q --disable-pip-version-check -r deploy/peers.txt && touch .venv-peers || echo "other trackers cannot be installed; there are no figures of theirs" >&2

.PHONY: bench
bench: install vendor .venv-peers ## Measure, other trackers beside; prints one JSON object a line
	@exec $(BIN)/python -m tests.benchmarks

.PHONY: bench-soak
bench-soak: install ## Measure under ten minutes of steady load
	@exec $(BIN)/python -m tests.benchmarks --soak

.PHONY: bench-growth
bench-growth: install vendor ## Measure how costs grow with the work: at once, ten and a hundred times of it
	@exec $(BIN)/python -m tests.benchmarks --growth

.PHONY: test-faults
test-faults: install ## Kills, power cuts, full disks (some parts need root); long
	@exec $(BIN)/python -m pytest -m "faults or quick_faults" --timeout 900 $(PYTEST)

.PHONY: test-hosts
test-hosts: install ## A real Slurm (apt install slurm-wlm munge; as root) and a Ray cluster, and what they do to runs; long
	@exec $(BIN)/python -m pytest -m "faults or not faults" --timeout 900 tests/integration/launchers tests/faults/slurm $(PYTEST)

.PHONY: test-moments
test-moments: install ## Two hundred random moments of a run against what a watching client was told
	@MILEPOST_MOMENTS=200 $(BIN)/python -m pytest tests/e2e/lifecycle/test_moments.py $(PYTEST)

.PHONY: test-search
test-search: install ## Ten trials of the real recipe, two at a time, to the end; some ten minutes
	@exec $(BIN)/python -m pytest -m long --timeout 3600 tests/e2e/lifecycle/test_search.py $(PYTEST)

.PHONY: test-security
test-security: install ## Ten thousand hostile calls and messages, and the rest of the attacks; what they cost others
	@MILEPOST_FUZZ_CALLS=10000 $(BIN)/python -m pytest tests/e2e/operations/test_attacks.py tests/integration/security --timeout 3000 $(PYTEST)
	@MILEPOST_FUZZ_MESSAGES=10000 $(BIN)/python -m pytest -m "long or not long" tests/unit/eventlog/test_hostile_messages.py tests/e2e/operations/test_hostile_attempts.py --timeout 3000 $(PYTEST)
	@exec $(BIN)/python -m tests.benchmarks attacks

.venv-s3: deploy/s3.txt
	@$(PYTHON) -m venv .venv-s3 && .venv-s3/bin/pip install -q -q --disable-pip-version-check -r deploy/s3.txt && touch .venv-s3

.PHONY: test-s3
test-s3: install .venv-s3 ## Snapshots in an object store: a server for it in an environment of its own
	@exec $(BIN)/python -m pytest -m s3 --timeout 600 $(PYTEST)

.PHONY: test-clients
test-clients: install ## Clients that others' generators make of the contract, in TypeScript and Python: compiled, and a run from start to deletion
	@$(BIN)/python deploy/clients.py
	@exec $(BIN)/python -m pytest -m clients --timeout 900 $(PYTEST)

.PHONY: test-gpu
test-gpu: install ## What needs a GPU
	@exec $(BIN)/python -m pytest -m gpu --timeout 600 $(PYTEST)

.PHONY: test-integrations
test-integrations: install vendor .venv-integrations/made ## Other people's training libraries, in an environment of their own
	@exec $(BIN)/python -m pytest -m integrations --timeout 900 $(PYTEST)

# PyTorch first and by name: no library may bring another one. The rest is resolved and hashed; nothing else comes along.
.venv-integrations/made: deploy/integrations.txt
	@echo "milepost: making .venv-integrations (a few minutes, 2 GB)"
	@$(PYTHON) -m venv .venv-integrations
	@.venv-integrations/bin/pip install --quiet --disable-pip-version-check "$(TORCH)" $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) 2>&1 | { grep -v "^WARNING: Location" || true; }
	@.venv-integrations/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r deploy/integrations.txt 2>&1 | { grep -v "^WARNING: Location" || true; }
	@.venv-integrations/bin/pip check && touch $@

.PHONY: pictures
pictures: install vendor ## Take the pictures of the README from a real run
	@exec $(BIN)/python -m tests.browser.gallery.pictures

.PHONY: pictures-integrations
pictures-integrations: install vendor .venv-integrations/made ## Take a picture of the page of each integration's run
	@exec $(BIN)/python -m tests.browser.gallery.integrations

.PHONY: vendor
vendor: ## Fetch the page's third-party files (exact versions, checked)
	@$(BIN)/python deploy/vendor_web.py

.PHONY: vendor-tests
vendor-tests:
	@$(BIN)/python deploy/vendor_web.py --tests

.PHONY: clean
clean: ## Remove what was generated; .venv and data stay
	@rm -rf dist build out .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis services/gateway/web/vendor tests/browser/vendor
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# --- supply chain

SUPPLY := .venv-supply/bin

.venv-supply: deploy/supply.txt
	@$(PYTHON) -m venv .venv-supply && $(SUPPLY)/pip install -q -q --disable-pip-version-check -r deploy/supply.txt 2>/dev/null && touch .venv-supply

.PHONY: pin
pin: ## Pin the images of deploy/ by the digests that their registries give (needs the network)
	@$(PYTHON) deploy/pin.py

.PHONY: sbom
sbom: .venv-supply ## Write out/sbom.json: what is shipped, as CycloneDX
	@mkdir -p out && $(SUPPLY)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o out/sbom.json requirements.lock 2>/dev/null && echo out/sbom.json

.PHONY: licenses
licenses: install .venv-supply ## Write out/licenses.csv: the licence of every dependency
	@mkdir -p out && $(SUPPLY)/pip-licenses --python=$(BIN)/python --from=mixed --format=csv --order=license --ignore-packages milepost > out/licenses.csv && echo out/licenses.csv

.PHONY: audit
audit: .venv-supply ## Look the locked dependencies up in the list of known vulnerabilities (needs the network)
	@$(SUPPLY)/pip-audit --strict --disable-pip --no-deps -r requirements.lock
