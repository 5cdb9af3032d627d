# Every target does its own set-up. `make help` lists them.
.POSIX:
.PHONY: help demo test check bench soak db-revision db-upgrade postgres tools

# Which part of the measurements `make bench` runs: all, or upgrade, verify, check, audit, seed.
PART =

# Which database `make db-upgrade` upgrades.
TARGET = --dev

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | awk -F@ '{ printf "make %-12s %s\n", $$1, $$2 }'

demo: postgres ## From an empty machine to three clinics, migrated and proven apart
	cargo run --locked -q -- seed --dev
	cargo run --locked -q -- verify-rls --dev

test: postgres check ## All that CI runs, on this machine's PostgreSQL and on a newer one
	INSTA_UPDATE=no cargo test --locked --workspace
	@.ci/test-newer

check: tools ## Format and lint
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

bench: postgres ## Measure against psql and stock sea-orm, side by side
	cargo bench --locked --bench goals -- $(PART)

soak: postgres ## The long forms of the fault tests: racing runs, a hundred signals
	cargo test --locked --test faults -- --ignored soak

db-revision: ## Write a new migration: make db-revision MSG="add rooms"
	@test -n "$$MSG" || { echo 'type: make db-revision MSG="add rooms"' >&2; exit 2; }
	cargo run --locked -q -- revision -m "$$MSG"

db-upgrade: postgres ## Apply pending migrations to the local database (TARGET="-u URL": to another)
	cargo run --locked -q -- upgrade $(TARGET)

postgres:
	@.ci/postgres

tools:
	@for tool in fmt clippy; do \
		cargo $$tool --version >/dev/null 2>&1 && continue; \
		command -v rustup >/dev/null 2>&1 || { echo "cargo $$tool is missing" >&2; exit 1; }; \
		rustup component add rustfmt clippy || exit 1; \
	done
