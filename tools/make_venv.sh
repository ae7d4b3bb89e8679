#!/usr/bin/env bash
# Makes .venv from requirements.lock, if it is missing or stale.
#
# Two stamps inside .venv say what was installed there: a change of the lock
# builds the environment anew (nothing that was dropped can linger), a change
# of pyproject.toml only installs the project again. A stamp is written after
# its installation has ended, so an interrupted one leaves none.
#
# PYTHON names the interpreter to use; without it the first of python3.11,
# python3.12 and python3 that is a Python 3.11 or 3.12 is taken.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly venv=.venv
readonly attempts=3

is_supported() {
  "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
    >/dev/null 2>&1
}

choose_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
    if is_supported "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or 3.12 among: ${PYTHON:-python3.11 python3.12 python3};" \
    "install one, or name it: make PYTHON=/path/to/python3.11" >&2
  return 1
}

# A virtual environment breaks when its folder moves: the place counts too.
fingerprint() {
  { pwd; cat "$@"; } | cksum
}

is_current() { # stamp, then the files that it vouches for
  local stamp=$1
  shift
  [[ -f $stamp && $(<"$stamp") == "$(fingerprint "$@")" ]]
}

# Drops one warning, which pip repeats for every package where a configured
# local index lacks it; all others stay.
pip_install() {
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-input \
    "$@" 2> >(grep -v 'is ignored: it is neither a file nor a directory' >&2)
}

install_locked() {
  local attempt
  for ((attempt = 1; attempt <= attempts; attempt++)); do
    if pip_install --require-hashes -r requirements.lock; then
      return
    fi
    if ((attempt < attempts)); then
      echo "pip failed (attempt $attempt of $attempts); trying again in 10 s" >&2
      sleep 10
    fi
  done
  echo "error: requirements.lock could not be installed; pip's message is above." \
    "Check the network and the free disk space (about 4 GB), then run the" \
    "same command again" >&2
  return 1
}

if ! is_current "$venv/lock.stamp" requirements.lock || ! is_supported "$venv/bin/python"; then
  python=$(choose_python)
  echo "Making $venv with $("$python" --version) from requirements.lock (some minutes) ..."
  rm -rf "$venv"
  "$python" -m venv "$venv"
  install_locked
  fingerprint requirements.lock >"$venv/lock.stamp"
fi

if ! is_current "$venv/project.stamp" pyproject.toml; then
  pip_install --no-deps --no-build-isolation --editable .
  fingerprint pyproject.toml >"$venv/project.stamp"
fi
