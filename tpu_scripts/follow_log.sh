#!/usr/bin/env bash
# Shows the log of the run on worker 0 as it grows.
set -euo pipefail
# shellcheck source=tpu_scripts/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

usage() {
  cat <<'HELP'
Usage: follow_log.sh [flags]

Shows the end of the run's log on worker 0, and what is added to it, until Ctrl-C;
the run goes on.
HELP
}

while (($#)); do
  common_flag "$@"
  shift "$flag_words"
done
load_settings TPU_NAME TPU_ZONE
on_hosts 0 "tail -n 200 -F $host_folder/jobs/train/log.txt"
