#!/usr/bin/env bash
# Makes a node ready: the project's own virtual environment, and what the launcher's shells need. Ray runs it on every
# node whenever anything that is synced there changed, so a second run with the same pyproject.toml takes a moment.
set -euo pipefail
cd "$HOME/binsfo-study"

# Python 3.11 or newer. Name another interpreter with PYTHON=... in front of this script in the cluster file.
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $python is $("$python" --version 2>&1); this project needs Python 3.11 or newer: install it, or set PYTHON" >&2
    exit 1
}

# The install is editable, so new code needs only to be synced; new dependencies change pyproject.toml. The constraints
# give all nodes the same releases, whenever they were set up: Ray joins no node of another release.
[ -x .venv/bin/python ] || "$python" -m venv .venv
if ! sha256sum --check --status .venv/installed.sha256 2>/dev/null; then
    .venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
    sha256sum pyproject.toml constraints.txt >.venv/installed.sha256
fi

# Read by `bash -c` shells alone, which are what the launcher opens; a person's own terminal stays as it is.
# shellcheck disable=SC2016  # for the shells that read it to expand
line='[ -z "${BASH_EXECUTION_STRING:-}" ] || . "$HOME/binsfo-study/cluster/environment.sh"  # binsfo-study'
touch "$HOME/.bashrc"
grep -qxF "$line" "$HOME/.bashrc" || printf '%s\n' "$line" >>"$HOME/.bashrc"

# The token that `ray up` brought along opens this Ray to whoever can read it.
chmod 600 "$HOME/.ray/auth_token"
