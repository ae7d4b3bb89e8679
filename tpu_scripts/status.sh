#!/usr/bin/env bash
# Says how a TPU VM and the run on it are.
set -euo pipefail
# shellcheck source=tpu_scripts/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

usage() {
  cat <<'HELP'
Usage: status.sh [flags]

Prints one line of JSON: `resource`, the state of the queued resource (GONE if
there is none, UNKNOWN if gcloud could not tell), and `job`, how the run on worker
0 is (null if worker 0 could not be asked).
HELP
}

while (($#)); do
  common_flag "$@"
  shift "$flag_words"
done
load_settings TPU_NAME TPU_ZONE

readonly question="if [ -f $host_folder/installed ]; then python3 $host_folder/job.py status train; else echo '{\"state\": \"not_installed\"}'; fi"
if [[ $dry_run == true ]]; then
  run gcloud compute tpus queued-resources describe "$TPU_NAME" "${place[@]}" '--format=value(state.state)'
  on_hosts 0 "$question"
  exit 0
fi
state=$(resource_state)
job=null
if [[ $state == ACTIVE ]] && answer=$(on_hosts 0 "$question"); then
  # Below what the host's shell may print by itself.
  job=${answer##*$'\n'}
  [[ $job == '{'*'}' ]] || job=null
fi
printf '{"resource": "%s", "job": %s}\n' "$state" "$job"
