#!/usr/bin/env bash
# Makes VENV with the package (editable), and what the named dependency groups bring. Usage: setup-python.sh VENV [GROUP…]
set -euo pipefail
venv=$1
shift
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  found=$("$python" --version 2>/dev/null || echo "not there")
  echo "setup: Python 3.11 or newer is needed; $python is $found. Give make another one: PYTHON=/path/to/python3.11" >&2
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

# Errors only: what else pip has to say (about root, about indexes of this machine) is nobody's concern here.
install() {
  "$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore "$@"
}
if (($# == 0)); then
  install --editable .
else
  install --upgrade "pip>=25.1" # which knows groups
  install --editable . "${@/#/--group=}"
fi
