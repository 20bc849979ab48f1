#!/usr/bin/env bash
# The main job, end to end, on synthetic CT and MR volumes: make demo runs it from the root.
# It works in data/demo and models/demo alone; every step resumes or replaces what it finds, and
# what another version of this script left there goes first.
set -euo pipefail

python=.venv/bin/python
data=data/demo
models=models/demo
flags=models/phantom/train.flags

if ! cat "$0" "$flags" | cmp -s - "$data/made_by"; then
  rm -rf "$data" "$models"
  mkdir -p "$data"
  cat "$0" "$flags" > "$data/made_by"
fi

step() { printf '\n== %s\n' "$*"; }

# One protocol each, as one site scans its patients.
demonstrate() { # MODALITY PROTOCOL
  local modality=$1 protocol=$2
  patients() {
    "$python" tools/make_phantom.py --modality="${modality^^}" --protocol="$protocol" "$@"
  }

  step "${modality^^}, $protocol: synthetic patients to train on, and others to be measured on"
  patients --output_dir="$data/train/$modality" --num_cases=80 --seed=1 --max_size=112
  patients --output_dir="$data/test/$modality" --num_cases=4 --seed=2

  step "${modality^^}: volumes to records of coronal slices"
  "$python" tools/make_tfrecords.py --dataset="$data/train/$modality" \
    --output_dir="$data/records/$modality" --num_folds=40
  "$python" tools/verify_tfrecords.py --records="$data/records/$modality"

  step "${modality^^}: training"
  "$python" -m spleen_tf.train --flagfile="$flags" \
    --records="$data/records/$modality" --model_dir="$models/$modality"

  step "${modality^^}: SavedModel"
  "$python" -m spleen_tf.export --model_dir="$models/$modality" \
    --export_dir="$models/$modality/saved_model"

  step "${modality^^}: prediction and evaluation of patients that the model has never seen"
  "$python" -m spleen_tf.predict --model="$models/$modality" \
    --input="$data/test/$modality/imagesTr" --output="$data/masks/$modality" \
    --preview="$data/pictures/$modality"
  "$python" -m spleen_tf.evaluate --predictions="$data/masks/$modality" \
    --labels="$data/test/$modality" --output_dir="$data/results/$modality"
}

# Much of the work uses one core only, and two trainings at once get through more steps than one after
# the other. They may share a GPU.
export TF_FORCE_GPU_ALLOW_GROWTH=true
set -m # A process group of its own, so that one signal ends all that it started.
demonstrate mr "T2 fat-suppressed" > "$data/mr.log" 2>&1 < /dev/null &
mr=$!
set +m
trap 'kill -- "-$mr" 2> /dev/null && wait "$mr" || true' EXIT
echo "Both modalities at once: CT is shown here, MR in $data/mr.log."
demonstrate ct "portal venous"
step "MR: waiting for its end"
if ! wait "$mr"; then
  cat "$data/mr.log" >&2
  exit 1
fi
trap - EXIT

step "Results on patients that the models have never seen"
for modality in ct mr; do
  printf '\n%s\n\n' "${modality^^}"
  cat "$data/results/$modality/results.md"
done
printf '\nmasks:    %s\npictures: %s\ntables:   %s\n' \
  "$data/masks" "$data/pictures" "$data/results"
