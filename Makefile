# One verb each. Everything a verb needs is installed by it: Python packages into .venv, programs by apt-get.
#
#   make run [PORTS=20000]   Portico in front of a private Dovecot with a small mailbox, until Ctrl-C
#   make test [T=tests/wire] all tests, the live ones with real servers and clients too
#   make check               ruff, mypy --strict, import contracts, unit tests with coverage
#   make lint                the first three of these
#   make pythons             unit tests with each supported Python that this machine has (EXCEPT=3.11: but that)
#   make bench               the benchmark against nginx and HAProxy
#   make soak [MINUTES=10]   mixed load for a long time: memory and descriptors must come back
#   make fuzz                the fuzz targets of wire and session
#   make docs                the generated pages of docs/reference
#   make clean               remove what these made

SHELL = /bin/sh
VENV = .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/installed
CACHE = .cache
# The Python that .venv is made from: the first of these that is supported.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$p && break; done)

PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
PACKAGES = -e '.[sql,redis,logs,test,check]' $(if $(wildcard plugins/setup.cfg plugins/pyproject.toml),-e ./plugins)

SERVERS = dovecot=dovecot-imapd /usr/lib/dovecot/imap-login=dovecot-imapd /usr/lib/dovecot/pop3-login=dovecot-pop3d
CLIENTS = nginx=nginx /usr/lib/nginx/modules/ngx_mail_module.so=libnginx-mod-mail curl=curl mbsync=isync mutt=mutt fetchmail=fetchmail jq=jq openssl=openssl node=nodejs npm=npm \
	haproxy=haproxy setpriv=util-linux unshare=util-linux /etc/ssl/certs/ca-certificates.crt=ca-certificates
PEERS = nginx=nginx /usr/lib/nginx/modules/ngx_mail_module.so=libnginx-mod-mail haproxy=haproxy gcc=gcc \
	/usr/include/openssl/ssl.h=libssl-dev openssl=openssl
NODE = $(CACHE)/node/node_modules/imapflow/package.json

.PHONY: run test check lint pythons bench soak fuzz docs clean install

run: $(STAMP)
	@.ci/install $(SERVERS)
	@exec $(BIN)/portico demo $(if $(PORTS),--ports $(PORTS))

test: $(STAMP) $(NODE)
	@.ci/install $(SERVERS) $(CLIENTS)
	@$(BIN)/python -m tests.live.fetch $(CACHE)/servers
	PORTICO_LIVE=require $(BIN)/python -m pytest $(T)

check: lint
	$(BIN)/python -m pytest -m "not live" --cov --cov-report=term:skip-covered

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Asked for by this verb only: to look takes half a second.
pythons: $(addprefix python/,$(if $(filter pythons,$(MAKECMDGOALS)),$(shell .ci/pythons $(EXCEPT))))

# With -j all at once, but installed one by one: pip writes into the tree.
python/%:
	@mkdir -p $(CACHE)/pythons; venv=$(CACHE)/pythons/$(notdir $*) && \
		{ [ $$venv/installed -nt setup.cfg ] && [ $$venv/installed -nt plugins/setup.cfg ] || \
			{ $* -m venv --clear $$venv && flock $(CACHE)/pythons/lock $$venv/bin/python -m pip --quiet --disable-pip-version-check --no-input \
			install $(subst test$(comma)check,test,$(PACKAGES)) && touch $$venv/installed; }; } && \
		PORTICO_EXAMPLES=brief $$venv/bin/python -m pytest -m "not live"

bench: $(STAMP)
	@.ci/install $(SERVERS) $(PEERS)
	$(BIN)/python tests/bench/run.py $(ARGS)

soak: $(STAMP)
	@.ci/install $(SERVERS)
	$(BIN)/python tests/bench/soak.py $(if $(MINUTES),--minutes $(MINUTES))

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz/run.py $(ARGS)

docs: $(STAMP)
	$(BIN)/python -m portico.config.reference > docs/reference/settings.md
	$(BIN)/python -m portico.observe.reference docs/reference
	$(BIN)/python -m portico.observe.metrics_reference > docs/reference/metrics.md

clean:
	rm -rf $(VENV) $(CACHE) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(STAMP)

comma = ,

$(STAMP): setup.cfg pyproject.toml $(wildcard plugins/setup.cfg plugins/pyproject.toml)
	@[ -n "$(PYTHON)" ] || { .ci/install python3=python3 && python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; } || \
		{ echo "Portico needs Python 3.11 or newer; this machine has: $$(python3 --version 2>&1)" >&2; exit 1; }
	@$(or $(PYTHON),python3) -c 'import ensurepip' 2>/dev/null || .ci/install /nowhere=python3-venv
	@[ -x $(BIN)/python ] && $(BIN)/python -c 'import pip' 2>/dev/null || { echo "making $(VENV)"; $(or $(PYTHON),python3) -m venv --clear $(VENV); }
	@echo "installing Portico and what it needs into $(VENV)"
	@$(PIP) install $(PACKAGES)
	@touch $@

$(NODE):
	@.ci/install node=nodejs npm=npm
	@mkdir -p $(CACHE)/node
	@echo "installing imapflow into $(CACHE)/node"
	@npm install --silent --no-audit --no-fund --no-save --prefix $(CACHE)/node imapflow@1 </dev/null >/dev/null
