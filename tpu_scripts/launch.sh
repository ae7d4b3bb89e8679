#!/usr/bin/env bash
# Starts a training run on worker 0, which goes on when this script has ended.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tpu_scripts/settings.sh
source "$here/settings.sh"

usage() {
  cat <<'HELP'
Usage: launch.sh [flags] -- TRAIN_ARGUMENTS

Starts `python -m official_ext.train TRAIN_ARGUMENTS` on worker 0, with --tpu; it
does not need this terminal. A run that was interrupted resumes by the same call.

  --file FILE     copy this file beside the run, for --gin_file; may be repeated

For example:
  launch.sh -- --gin_file experiments/compound_grow_base.gin \
    --data_dir gs://BUCKET/data --model_dir gs://BUCKET/runs/first
HELP
}

arguments=(train) files=(job.json)
while (($#)); do
  case $1 in
    --file)
      (($# >= 2)) || die "$1 lacks its value (--help lists the flags)"
      [[ -f $2 ]] || die "--file $2: there is no such file"
      files+=("$2")
      shift 2
      ;;
    --) shift; arguments+=("$@"); break ;;
    *) common_flag "$@"; shift "$flag_words" ;;
  esac
done
load_settings TPU_NAME TPU_ZONE
((${#arguments[@]} > 1)) || die "no arguments of train are given; write them after -- (--help shows how)"

# On the TPU's own disk a run would be lost with the TPU.
path_of() { # flag
  local index word next
  for ((index = 1; index < ${#arguments[@]}; index++)); do
    word=${arguments[index]} next=${arguments[index + 1]:-}
    case $word in
      "--$1" | "-$1") echo "$next" ;;
      "--$1="* | "-$1="*) echo "${word#*=}" ;;
      --tpu | --tpu=* | -tpu | -tpu=*) die "--tpu is added here; leave it out" ;;
    esac
  done
}
for flag in data_dir model_dir; do
  path=$(path_of "$flag") || exit
  [[ $path == gs://* ]] || die "--$flag is '$path'; a TPU and its disk can be taken away, give a gs:// path"
done
while read -r gin_file; do
  [[ -z $gin_file || $gin_file == *://* || -f $here/../gin_configs/$gin_file ||
    " ${files[*]##*/} " == *" $gin_file "* ]] ||
    die "--gin_file $gin_file is not packaged and not sent along; give --file PATH before --, and after it the bare name"
done <<<"$(path_of gin_file)"

tpu=local
if [[ $dry_run == true ]]; then
  echo 'would ask for the number of hosts; of several, --tpu is the name and not local'
else
  hosts=$(num_hosts)
  if ((hosts > 1)); then
    tpu=$TPU_NAME
  fi
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
files[0]=$folder/train.json
python3 "$here/on_host/job.py" describe "$tpu" "${arguments[@]:1}" >"${files[0]}"
if [[ $dry_run == true ]]; then
  echo "would copy as $host_folder/train.json: $(<"${files[0]}")"
fi
copy_to_hosts 0 "${files[@]}"
on_hosts 0 "python3 $host_folder/job.py start train"
