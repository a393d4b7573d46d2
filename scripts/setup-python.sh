#!/usr/bin/env bash
# Makes .venv with the package (editable) and everything its tests and checks need. Usage: setup-python.sh VENV
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  found=$("$python" --version 2>/dev/null || echo "not there")
  echo "setup: Python 3.11 or newer is needed; $python is $found. Run: make setup PYTHON=/path/to/python3.11" >&2
  exit 1
fi

# Debian keeps the part of venv that brings pip in a package of its own.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  "$(dirname "$0")/debian-packages.sh" python3-venv
fi

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable . --group test --group lint
