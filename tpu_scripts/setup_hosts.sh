#!/usr/bin/env bash
# Installs the package on every host of a TPU VM.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tpu_scripts/settings.sh
source "$here/settings.sh"

usage() {
  cat <<'HELP'
Usage: setup_hosts.sh [flags]

Copies the wheel and the locks to every host and installs them, the TPU's build of
TensorFlow last; the doctor then looks at each host. On a slice of several hosts
it also starts the TensorFlow server of each. May be repeated.

  --wheel FILE    wheel of official_ext; default: made of this checkout
HELP
}

wheel=
while (($#)); do
  case $1 in
    --wheel)
      (($# >= 2)) || die "$1 lacks its value (--help lists the flags)"
      wheel=$2
      shift 2
      ;;
    *) common_flag "$@"; shift "$flag_words" ;;
  esac
done
load_settings TPU_NAME TPU_ZONE
[[ -z $wheel || -f $wheel ]] || die "--wheel $wheel: there is no such file"

root=$(dirname "$here")
if [[ -z $wheel ]]; then
  # Into an empty folder: an older one could lie in another.
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  run "${PYTHON:-$root/.venv/bin/python}" -m pip wheel -q --no-deps --no-index --no-build-isolation \
    --wheel-dir "$folder" "$root"
  wheel=$folder/official_ext.whl
  for made in "$folder"/official_ext-*.whl; do
    [[ ! -f $made ]] || wheel=$made
  done
fi

on_hosts all "mkdir -p $host_folder && rm -f $host_folder/installed $host_folder/*.whl"
copy_to_hosts all "$wheel" "$root/requirements.lock" "$here/tpu_requirements.lock" "$here"/on_host/*
on_hosts all "bash $host_folder/install.sh"
if [[ $dry_run == true ]]; then
  echo 'would start the TensorFlow server of each host, if there are several'
else
  hosts=$(num_hosts)
  if ((hosts > 1)); then
    on_hosts all "python3 $host_folder/job.py start server"
  fi
fi
# Last, and on worker 0 only: it says that all of them are ready.
on_hosts 0 "touch $host_folder/installed"
