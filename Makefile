# `make help` lists the commands. Each installs what it needs; a second call finds it done.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# One stamp file for what running needs, one for what tests and linters need besides. The folder is part of their names:
# `anonymizer` in the virtual environment runs the code of the checkout that it was installed from.
hash    = $(shell { pwd; cat $(1); } | sha256sum | cut -c1-16)
RUN    := $(VENV)/.stamp-run-$(call hash,requirements.txt pyproject.toml)
DEV    := $(VENV)/.stamp-dev-$(call hash,requirements*.txt pyproject.toml)

# the notebooks that `make notebooks` runs
NOTEBOOKS ?= $(wildcard notebooks/*.ipynb)
CONVERT := --log-level ERROR --KernelManager.transport_encryption=auto --to html --execute --output-dir build/notebooks

.PHONY: help serve lab notebooks docs test fast slow cluster check lint clean

help: ## list the commands
	@echo "make COMMAND [ARGS=\"...\"]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

serve: $(RUN) ## start the service on http://127.0.0.1:7000 (options: ARGS="--help")
	$(BIN)/anonymizer serve $(ARGS)

lab: $(RUN) ## open JupyterLab with the notebooks
	$(BIN)/anonymizer lab $(ARGS)

notebooks: export OMP_WAIT_POLICY = PASSIVE
notebooks: $(RUN) ## run every notebook and write build/notebooks/*.html
	@failed=; for notebook in $(NOTEBOOKS); do \
		page=build/notebooks/$$(basename $$notebook .ipynb).html; rm -f $$page; \
		echo "$$notebook ..."; \
		$(BIN)/jupyter-nbconvert $(CONVERT) $$notebook \
			&& echo "  $$page" || failed="$$failed $$notebook"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi

docs: $(DEV) ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

test: $(DEV) ## run all tests (one file: ARGS=tests/test_cli.py)
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	@$(MAKE) --no-print-directory fast ARGS=; fast=$$?; $(MAKE) --no-print-directory slow ARGS= && exit $$fast
endif

# one thread of torch for each test process: there is one process for each core
fast: export OMP_NUM_THREADS = 1
fast: $(DEV) ## run the fast tests on all cores
	$(BIN)/python -m pytest -q -m "not slow" --numprocesses auto --dist loadfile $(ARGS)

# what a cluster does otherwise than one machine; DATABASE_URL and BROKER_URL name the servers (.ci/servers starts some)
CLUSTER := tests/service/test_cluster_processes.py tests/service/test_postgresql.py tests/service/test_redis.py \
	tests/service/test_restarts_processes.py tests/deploy/test_containers_processes.py

cluster: $(DEV) ## run tests on PostgreSQL and Redis
	$(BIN)/python -m pytest -q $(or $(ARGS),$(CLUSTER))

# two at a time, on any machine: while one test waits for a server or a browser, the other works
slow: export OMP_WAIT_POLICY = PASSIVE
slow: $(DEV) ## run the slow tests: servers, workers, videos, notebooks
	$(BIN)/python -m pytest -q -m slow --numprocesses 2 --dist loadfile --durations 25 $(ARGS)

check: lint fast ## run the linters and the fast tests

lint: $(DEV) ## run ruff, mypy and hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

clean: ## remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(RUN): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/pip install --quiet -r requirements.txt
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	rm -f $(VENV)/.stamp-run-*
	touch $@

$(DEV): $(RUN) requirements-dev.txt requirements-models.txt requirements-cluster.txt requirements-ray.txt
	$(BIN)/pip install --quiet -r requirements-dev.txt
	rm -f $(VENV)/.stamp-dev-*
	touch $@
