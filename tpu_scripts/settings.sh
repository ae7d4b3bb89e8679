# shellcheck shell=bash disable=SC2034  # Names that the scripts use.
# Sourced by the scripts beside it: their settings, flags and calls of gcloud.
#
# An argument is handed on as a word of an array. What runs on a host is a fixed
# text; what varies reaches it as a file.

# Bash 3.2, which macOS has, takes an empty array for an unset variable under
# `set -u`: no array here is ever empty.

readonly setting_names='TPU_NAME TPU_ZONE TPU_TYPE TPU_RUNTIME TPU_PROJECT TPU_SPOT'
# Where everything is on the hosts, below the home folder.
readonly host_folder=official_ext

dry_run=false
settings_file=

die() { # message, [exit code]
  echo "error: $1" >&2
  exit "${2:-2}"
}

common_help() {
  cat <<'HELP'

Settings, also read from ./tpu.env or from the environment as TPU_NAME etc.
(tpu_scripts/tpu.env.example explains them):
  --name NAME          of the queued resource and of the TPU VM
  --zone ZONE
  --type TYPE          accelerator type, such as v4-8
  --runtime VERSION    runtime version of the TPU VM
  --project PROJECT    default: that of gcloud config
  --spot true|false    default: true
  --settings FILE      read this file in place of ./tpu.env
  --dry_run            print what would be done, and do nothing
  --help               show this text
HELP
}

# Takes a flag that all scripts have; its words are counted in flag_words.
common_flag() {
  flag_words=2
  case $1 in
    --dry_run) dry_run=true flag_words=1 ;;
    --help | -h) usage; common_help; exit 0 ;;
    --name | --zone | --type | --runtime | --project | --spot | --settings)
      (($# >= 2)) || die "$1 lacks its value (--help lists the flags)"
      case $1 in
        --name) TPU_NAME=$2 ;;
        --zone) TPU_ZONE=$2 ;;
        --type) TPU_TYPE=$2 ;;
        --runtime) TPU_RUNTIME=$2 ;;
        --project) TPU_PROJECT=$2 ;;
        --spot) TPU_SPOT=$2 ;;
        --settings) settings_file=$2 ;;
      esac
      ;;
    *) die "unknown argument '$1' (--help lists the flags)" ;;
  esac
}

# Fills in from the file what neither a flag nor the environment gave, and
# refuses what cannot be right.
load_settings() { # names that are needed
  local line key name
  if [[ -z $settings_file && -f tpu.env ]]; then
    settings_file=tpu.env
  fi
  if [[ -n $settings_file ]]; then
    [[ -f $settings_file ]] || die "--settings $settings_file: there is no such file"
    while IFS= read -r line || [[ -n $line ]]; do
      line=${line%$'\r'}
      [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
      key=${line%%=*}
      [[ $line == *=* && " $setting_names " == *" $key "* ]] ||
        die "$settings_file: '$line' is no setting; write one of $setting_names, = and a value"
      if [[ -z ${!key+set} ]]; then
        printf -v "$key" '%s' "${line#*=}"
      fi
    done <"$settings_file"
  fi
  : "${TPU_NAME:=}" "${TPU_ZONE:=}" "${TPU_TYPE:=}" "${TPU_RUNTIME:=}" "${TPU_PROJECT:=}" "${TPU_SPOT:=true}"
  for name in "$@"; do
    [[ -n ${!name} ]] || die "$name is not set; give $(flag_of "$name"), or set it in tpu.env (tpu_scripts/tpu.env.example)"
  done
  for name in $setting_names; do
    # gcloud would take a leading dash for a flag.
    [[ ${!name} =~ ^([A-Za-z0-9][A-Za-z0-9._:-]*)?$ ]] ||
      die "$name is '${!name}'; it consists of letters, digits and . _ : -"
  done
  [[ $TPU_SPOT == true || $TPU_SPOT == false ]] || die "TPU_SPOT is '$TPU_SPOT'; give true or false"
  # The scripts that call each other read the same.
  export TPU_NAME TPU_ZONE TPU_TYPE TPU_RUNTIME TPU_PROJECT TPU_SPOT
  place=("--zone=$TPU_ZONE" --quiet)
  if [[ -n $TPU_PROJECT ]]; then
    place+=("--project=$TPU_PROJECT")
  fi
  if [[ $dry_run == false ]]; then
    command -v gcloud >/dev/null || die 'gcloud is not installed, or not on PATH (https://cloud.google.com/sdk)'
  fi
}

flag_of() { # TPU_NAME -> --name
  local name=${1#TPU_}
  printf -- '--%s' "$name" | tr '[:upper:]' '[:lower:]'
}

require_number() { # flag, value
  [[ $2 =~ ^[0-9]+$ ]] || die "$1 is '$2'; give a whole number"
}

# Does it, or prints it in a form that a shell would read as the same words.
run() {
  if [[ $dry_run == true ]]; then
    printf 'would run:'
    printf ' %q' "$@"
    echo
  else
    "$@"
  fi
}

# A state of the API, GONE, or UNKNOWN if gcloud could not tell.
resource_state() {
  local answer
  if answer=$(gcloud compute tpus queued-resources describe "$TPU_NAME" "${place[@]}" \
      '--format=value(state.state)' 2>&1); then
    # Warnings may stand above it.
    answer=${answer##*$'\n'}
    echo "${answer:-UNKNOWN}"
  elif [[ $answer == *NOT_FOUND* || $answer == *'was not found'* ]]; then
    echo GONE
  else
    echo "gcloud: $answer" >&2
    echo UNKNOWN
  fi
}

delete_resource() {
  # --force takes the TPU VM along.
  run gcloud compute tpus queued-resources delete "$TPU_NAME" "${place[@]}" --force
}

on_hosts() { # worker, a fixed command
  run gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${place[@]}" "--worker=$1" "--command=$2"
}

copy_to_hosts() { # worker, files
  local worker=$1
  shift
  run gcloud compute tpus tpu-vm scp "$@" "$TPU_NAME:$host_folder/" "${place[@]}" "--worker=$worker"
}

num_hosts() {
  # Assign it before it is compared: a failure inside (( )) passes for 0.
  gcloud compute tpus tpu-vm describe "$TPU_NAME" "${place[@]}" --format=json |
    python3 -c 'import json, sys; print(len(json.load(sys.stdin)["networkEndpoints"]))'
}
