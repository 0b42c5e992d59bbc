# `make serve` and `make test` do all the set-up there is; the second call finds it done.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp-$(shell cat requirements*.txt | sha256sum | cut -c1-16)

# which notebooks `make notebooks` runs
NOTEBOOKS ?= $(wildcard notebooks/*.ipynb)
# JupyterLab looks for no newer version of itself; it and what runs a notebook speak encrypted, else Jupyter warns each time
LAB     := --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	--MappingKernelManager.transport_encryption=auto $(if $(filter 0,$(shell id -u)),--allow-root)
CONVERT := --log-level ERROR --KernelManager.transport_encryption=auto --to html --execute --output-dir build/notebooks

.PHONY: serve test lint lab notebooks setup clean

serve: setup
	$(BIN)/python manage.py serve $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# threads that wait sleep, as in manage.py
lab notebooks: export OMP_WAIT_POLICY = PASSIVE

lab: setup
	cd notebooks && $(abspath $(BIN))/jupyter-lab $(LAB) $(ARGS)

notebooks: setup
	@failed=; for notebook in $(NOTEBOOKS); do \
		page=build/notebooks/$$(basename $$notebook .ipynb).html; rm -f $$page; \
		echo "$$notebook ..."; \
		$(BIN)/jupyter-nbconvert $(CONVERT) $$notebook \
			&& echo "  $$page" || failed="$$failed $$notebook"; \
	done; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; fi

setup: $(STAMP)

$(STAMP): requirements.txt requirements-dev.txt requirements-train.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -r requirements.txt -r requirements-dev.txt
	rm -f $(VENV)/.stamp-*
	touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
