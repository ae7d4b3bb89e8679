#!/usr/bin/env bash
# Stops the run and deletes the TPU VM with its queued resource.
set -euo pipefail
# shellcheck source=tpu_scripts/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

usage() {
  cat <<'HELP'
Usage: tear_down.sh [flags]

Lets the run on worker 0 save, then deletes the TPU VM and its queued resource. What
is in gs:// stays. Stop supervise.py before, or it creates them again.

  --no_stop    delete at once: the steps since the last checkpoint are lost
HELP
}

stop=true
while (($#)); do
  case $1 in
    --no_stop) stop=false; shift ;;
    *) common_flag "$@"; shift "$flag_words" ;;
  esac
done
load_settings TPU_NAME TPU_ZONE

state=ACTIVE
[[ $dry_run == true ]] || state=$(resource_state)
case $state in
  GONE) echo "$TPU_NAME: GONE, nothing to delete"; exit 0 ;;
  UNKNOWN) die 'gcloud could not tell the state; nothing was deleted' 1 ;;
esac
if [[ $stop == true && $state == ACTIVE ]]; then
  on_hosts 0 "if [ -f $host_folder/job.py ]; then python3 $host_folder/job.py stop train; fi" ||
    echo "warning: $TPU_NAME could not be asked to save; deleting it all the same" >&2
fi
delete_resource
