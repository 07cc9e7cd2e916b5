#!/bin/sh
# Installs the tutorials from the folder wheels, without a network, and opens them in JupyterLab.
set -e
cd "$(dirname "$0")"
if [ ! -f .venv/installed ]; then
  for python in python3 python python3.11 python3.12 python3.13 none; do
    check='import sys; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv)'
    if "$python" -c "$check" PYTHONS 2>/dev/null; then break; fi
  done
  if [ "$python" = none ]; then
    echo "These wheels are for Python PYTHONS. Install it, then start this script again."
    exit 1
  fi
  echo "Installing into .venv; this takes a minute or two, once."
  "$python" -m venv .venv
  export PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels
  .venv/bin/python -m pip install --quiet --require-hashes -r requirements.lock
  .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
  touch .venv/installed
fi
exec .venv/bin/tutorial lab "$@"
