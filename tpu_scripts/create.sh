#!/usr/bin/env bash
# Requests a TPU VM as a queued resource, and waits until it is there.
set -euo pipefail
# shellcheck source=tpu_scripts/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

usage() {
  cat <<'HELP'
Usage: create.sh [flags]

Requests a TPU VM as a queued resource, spot by default, and waits until it is
ACTIVE. What is there already is used; what is FAILED or SUSPENDED is deleted and
requested again.

  --attempts N         requests until it gives up (3)
  --poll_seconds N     between two looks at the state (30)
  --timeout_seconds N  to wait for ACTIVE (86400); the request then stays
  --no_wait            request it, and do not wait
HELP
}

attempts=3 poll_seconds=30 timeout_seconds=86400 wait=true
while (($#)); do
  case $1 in
    --attempts | --poll_seconds | --timeout_seconds)
      (($# >= 2)) || die "$1 lacks its value (--help lists the flags)"
      require_number "$1" "$2"
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    --no_wait) wait=false; shift ;;
    *) common_flag "$@"; shift "$flag_words" ;;
  esac
done
load_settings TPU_NAME TPU_ZONE TPU_TYPE TPU_RUNTIME

request() {
  local command=(
    gcloud compute tpus queued-resources create "$TPU_NAME" "${place[@]}" "--node-id=$TPU_NAME"
    "--accelerator-type=$TPU_TYPE" "--runtime-version=$TPU_RUNTIME")
  if [[ $TPU_SPOT == true ]]; then
    command+=(--spot)
  fi
  run "${command[@]}"
}

if [[ $dry_run == true ]]; then
  request
  echo "would wait until $TPU_NAME is ACTIVE, and delete and request it again if it FAILED"
  exit 0
fi

started=$SECONDS attempt=0 before=
while true; do
  state=$(resource_state)
  [[ -n $before || $state != UNKNOWN || $wait == false ]] ||
    die 'gcloud could not tell the state (its words are above); often --project is wrong, or gcloud auth login is needed'
  if [[ $state != "$before" ]]; then
    echo "$TPU_NAME: $state"
    before=$state
  fi
  case $state in
    ACTIVE) exit 0 ;;
    FAILED | SUSPENDED)
      delete_resource
      # What just failed for lack of room would do so again.
      [[ $wait == false ]] || sleep "$poll_seconds"
      continue
      ;;
    GONE)
      ((attempt < attempts)) || die "$TPU_NAME failed $attempts times; another zone or type may have room" 1
      request
      attempt=$((attempt + 1))
      ;;
  esac
  if [[ $wait == false ]]; then
    [[ $state != UNKNOWN ]] || die 'gcloud could not tell the state; nothing was requested' 1
    exit 0
  fi
  ((SECONDS - started < timeout_seconds)) ||
    die "$TPU_NAME is $state after $timeout_seconds s; its request stays, tear_down.sh drops it" 1
  sleep "$poll_seconds"
done
