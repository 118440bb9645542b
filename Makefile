# make run        serve ./data at http://127.0.0.1:8080/
# make run-mongo  serve a tree in a private MongoDB, with its data in ./mongodb
# make test       everything the tests need, then all tests
# make check      ruff and mypy, as CI runs them
# make container-test  build the container image on a bare Debian, without an engine, and run it

VENV := .venv
BIN := $(VENV)/bin
# Two files at a time: the tests wait for clients and databases half of their time.
TWO := --numprocesses=2 --dist=loadfile
.DELETE_ON_ERROR:
.PHONY: run run-mongo test container-test check format bench soak lock clean

run: $(VENV)/.base
	@mkdir -p data
	@exec $(BIN)/davstore serve

run-mongo: $(VENV)/.dev
	@exec $(BIN)/davstore serve --mongo embedded:./mongodb

# What is installed is remembered in stamp files, so that the second time starts at once.
$(VENV)/.base: pyproject.toml requirements.lock
	@echo "Installing davstore into $(VENV) ..."
	@scripts/venv requirements.lock
	@touch $@

$(VENV)/.dev: pyproject.toml requirements-dev.lock
	@echo "Installing davstore and what its tests need into $(VENV) ..."
	@scripts/venv requirements-dev.lock
	@touch $@ $(VENV)/.base

test: $(VENV)/.dev
	@scripts/components test
	$(BIN)/pytest $(TWO) --ignore=tests/test_image.py
	@scripts/test-newest

# As root. A minute and a half the first time, when a bare Debian is made; half a minute later.
container-test: $(VENV)/.dev
	@scripts/components container
	$(BIN)/pytest tests/test_image.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict davstore tests bench

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	@scripts/components bench
	$(BIN)/python -m bench

soak: $(VENV)/.dev
	$(BIN)/python -m bench.soak
	DAVSTORE_SCHEDULES=100000 $(BIN)/pytest --timeout=0 tests/stores/mongo/test_schedules.py \
		tests/stores/mongo/test_histories.py
	DAVSTORE_STEPS=100000 $(BIN)/pytest --timeout=0 tests/mongo_e2e/test_two_servers.py
	DAVSTORE_UPLOAD_MIB=2048 $(BIN)/pytest --timeout=0 -rP tests/client/test_big_upload.py

lock:
	@scripts/lock

clean:
	rm -rf $(VENV) .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
