# Each target does all of its own set-up; only Python 3.11+ and make are needed.
PYTHON ?= python3
VENV := .venv
TRITON := $(VENV)-triton
AUDIT := $(VENV)-audit
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ARGS ?=

.PHONY: serve test test-long check deploy-check audit manifests reference format proto triton clean

serve: $(VENV)/.service  ## start the service on http://127.0.0.1:8000 with the shipped model
	$(BIN)/yolov7-service serve $(ARGS)

# Three processes: the halves are never installed into one process either, and their thread pools and signal handlers do not mix;
# what the tests of deploy/ start is gone before the trainer's begin.
test: $(VENV)/.dev $(TRITON)/.triton  ## the quick suite: seconds to a few minutes, wheels only, no root
	$(BIN)/python -m pytest tests/service $(ARGS)
	$(BIN)/python -m pytest tests/deploy $(ARGS)
	$(BIN)/python -m pytest --ignore tests/service --ignore tests/deploy $(ARGS)

test-long: $(VENV)/.dev  ## the slow suite: every variant, real training steps
	$(BIN)/python -m pytest -m long $(ARGS)

check: $(VENV)/.dev  ## style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Needs docker-compose, promtool and kustomize (or kubectl); what cannot be checked for want of a tool fails.
deploy-check: $(VENV)/.dev $(TRITON)/.triton  ## compose, Dockerfiles, rules, dashboards, manifests
	REQUIRE_ALL=1 $(BIN)/python -m pytest tests/deploy $(ARGS)

audit: $(AUDIT)/bin/pip-audit  ## known vulnerabilities of what is pinned; asks pypi.org, and fails where it cannot
	$(AUDIT)/bin/python deploy/audit.py $(ARGS)

$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1

manifests:  ## what Kubernetes is given of the rules of Prometheus
	$(PYTHON) deploy/kubernetes/rules.py

reference: $(VENV)/.dev  ## docs/reference and docs/metrics.md, from the code
	$(BIN)/python docs/generate/pages.py
	$(BIN)/python deploy/monitoring/metrics_page.py

proto: $(VENV)/.dev  ## generates the gRPC code from its proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. service/streams/wire/detection.proto

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.service: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the service into $(VENV) (once) ..."
	$(PIP) --editable '.[service]'
	@touch $@

# The trainer and the checks on top. torch comes first: a plain requirement would take the newest CUDA build.
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the service, the trainer and the checks into $(VENV) (once) ..."
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --editable '.[service,triton,tracing,client,camera,bench,training,dev]'
	@touch $@ $(VENV)/.service

triton: $(VENV)/.service $(TRITON)/.triton  ## a real tritonserver from a wheel, for deploy/triton/tritonserver.py, and what the gateway needs to speak to it
	$(PIP) --editable '.[service,triton]'

$(TRITON)/.triton: deploy/triton/install.sh deploy/triton/constraints.txt
	@echo "installing a tritonserver into $(TRITON) (once) ..."
	@PYTHON=$(PYTHON) deploy/triton/install.sh $(TRITON)
	@touch $@

clean:
	rm -rf $(VENV) $(TRITON) $(AUDIT) .mypy_cache .ruff_cache .pytest_cache .hypothesis
