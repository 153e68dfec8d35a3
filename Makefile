# What there is to do with the book. `make` alone lists it.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
BIN := .venv/bin
NAME ?=
URL ?=
PORT ?= 8000
WHEELS ?=
SECONDS ?= 60
SEED ?= $(shell date +%Y%m%d)
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help book test chapter serve workshop slides pdf stills fuzz mutants audit format check repository lock clean distclean

help: ## list what there is to do
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: $(INSTALLED) ## execute the chapters, build the site into _build/html and print its address
	@$(BIN)/python book/build.py

test: $(INSTALLED) check book ## every check: style, types, the library, each chapter, the built site
	@$(BIN)/python -m pytest
	@$(MAKE) --no-print-directory fuzz

fuzz: $(INSTALLED) ## a minute: every reader of files, fed with spoilt ones that differ from day to day (SECONDS=60)
	@$(BIN)/python tests/fuzz.py --seconds $(SECONDS) --seed $(SEED)

chapter: $(INSTALLED) ## one chapter executed and rendered: make chapter NAME=painn
	@test -n "$(NAME)" || { echo "which chapter? make chapter NAME=painn"; exit 2; }
	@$(BIN)/python book/build.py --chapter $(NAME)

serve: ## show the built site at http://127.0.0.1:8000 (PORT=8000); stop with Ctrl-C
	@test -e _build/html/index.html || { echo "there is no site yet: make book"; exit 2; }
	@echo "http://127.0.0.1:$(PORT)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html >/dev/null 2>&1

workshop: $(INSTALLED) ## folders and zips for a class and its teacher; with all packages: make workshop WHEELS=1
	@$(BIN)/python book/workshop.py $(if $(WHEELS),--wheels)

slides: $(INSTALLED) ## slides of the workshop from the executed chapters, in _build/slides
	@$(BIN)/python book/slides.py

pdf: $(INSTALLED) ## the built site as one PDF, in _build/pdf; needs Chromium or Chrome
	@$(BIN)/python book/pdf.py

stills: $(INSTALLED) ## still pictures of the live figures, made anew; needs Chromium or Chrome
	@$(BIN)/python book/stills.py

mutants: $(INSTALLED) ## half an hour: one plausible bug planted at a time; the tests must notice each
	@$(BIN)/python -m scripts.checks.mutants

audit: $(INSTALLED) ## hours: the chapters as other machines and other seeds have them, or one: make audit NAME=painn
	@$(BIN)/python book/audit.py $(if $(NAME),--only $(NAME))

format: $(INSTALLED) ## bring code and notebooks into the form that they have in git
	@$(BIN)/python book/starters.py
	@$(BIN)/python book/build.py --fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python book/build.py --fix

check: $(INSTALLED) ## style, types, and the rules for notebooks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python book/build.py --check
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

repository: $(INSTALLED) ## tell the book where it lives: make repository URL=https://github.com/owner/name
	@test -n "$(URL)" || { echo "which address? make repository URL=https://github.com/owner/name"; exit 2; }
	@$(BIN)/python book/build.py --repository "$(URL)"

lock: ## resolve pyproject.toml afresh into requirements.lock and environment.yml
	@$(PYTHON) scripts/setup/lock.py

clean: ## remove what was built; the environment stays
	rm -rf _build

distclean: clean ## remove the environment, too
	rm -rf .venv

$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and no python3 was found"; exit 2; }
	@$(PYTHON) scripts/setup/supported.py
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned packages into .venv (a few minutes, once) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@
