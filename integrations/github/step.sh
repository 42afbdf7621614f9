#!/usr/bin/env bash
# One step of the workflow: plan or apply an environment, and leave its report where the next step uploads it.
#
#   integrations/github/step.sh plan|apply ENV_OR_FILE FOLDER [options of `runbook run`]
#
# It ends with the exit code of `runbook run`: 0 done, 1 failed, 2 refused, 3 held, 4 rolled back.
set -uo pipefail

if [ "$#" -lt 3 ] || { [ "$1" != plan ] && [ "$1" != apply ]; }; then
  echo "usage: step.sh plan|apply ENV_OR_FILE FOLDER [options of runbook run]" >&2
  exit 2
fi
mode=$1 environment=$2 folder=$3
shift 3

mkdir -p "$folder" || exit 1
runbook run "$environment" --mode "$mode" --report "$folder/report.html" "$@"
