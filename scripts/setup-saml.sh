#!/usr/bin/env bash
# Unpacks what the SAML identity providers of the tests need and no package manager installs as we want it:
# SimpleSAMLphp without the web server its Debian package depends on, and spid-sp-test (whose response templates are
# used) without its pins of other packages. Usage: setup-saml.sh VENV FOLDER
set -euo pipefail
venv=$(realpath "$1")
folder=$2
spid="spid-sp-test==1.2.18"

mkdir -p "$folder"
cd "$folder"

if [[ ! -d simplesamlphp/usr/share/simplesamlphp/www ]]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: SimpleSAMLphp is missing, and it comes from Debian's package simplesamlphp: apt-get is needed." >&2
    exit 1
  fi
  rm -rf simplesamlphp download
  mkdir download
  # As root, apt would rather write as its own user, who may not write here.
  fetch() { (cd download && apt-get --quiet=2 --option APT::Sandbox::User=root download simplesamlphp >/dev/null); }
  if ! fetch 2>/dev/null; then
    if ((EUID == 0)); then
      apt-get update --quiet=2
    fi
    fetch
  fi
  dpkg -x download/simplesamlphp_*.deb simplesamlphp
  rm -rf download
fi

if [[ ! -d spid/spid_sp_test ]]; then
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target spid "$spid"
fi
