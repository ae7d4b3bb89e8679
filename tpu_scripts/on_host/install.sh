#!/usr/bin/env bash
# Runs on a host of a TPU VM, beside what setup_hosts.sh copied there: installs
# the package. The TPU's build of TensorFlow comes last: of the files that it
# shares with the plain one, which Model Garden asks for, the last are used.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ ${1:-} == --help ]]; then
  echo 'Usage: install.sh; setup_hosts.sh copies and runs it on every host.'
  exit 0
fi

python=
for candidate in python3.11 python3.12; do
  if command -v "$candidate" >/dev/null; then
    python=$candidate
    break
  fi
done
if [[ -z $python ]]; then
  # Ubuntu 22.04 comes with 3.10, and has 3.11 among its packages.
  sudo apt-get update -q
  sudo apt-get install -q -y python3.11 python3.11-venv
  python=python3.11
fi

pip_install() {
  venv/bin/python -m pip install -q --disable-pip-version-check --no-input "$@"
}

# Half an environment of an earlier, interrupted try would pass for a whole one.
rm -rf venv
"$python" -m venv venv
pip_install --require-hashes -r requirements.lock
venv/bin/python -m pip uninstall -q -y tensorflow
pip_install --no-deps --no-index ./*.whl
pip_install --no-deps --require-hashes --force-reinstall -r tpu_requirements.lock
# From another folder: the files here must not hide what is installed.
(cd / && "$OLDPWD/venv/bin/python" -m official_ext.doctor --tpu local --model_dir /tmp)
