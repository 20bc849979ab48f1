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

for modality in ct mr; do
  # One protocol each, as one site scans its patients.
  if [ "$modality" = ct ]; then protocol="portal venous"; else protocol="T2 fat-suppressed"; fi
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
done

step "Results on patients that the models have never seen"
for modality in ct mr; do
  printf '\n%s\n\n' "${modality^^}"
  cat "$data/results/$modality/results.md"
done
printf '\nmasks:    %s\npictures: %s\ntables:   %s\n' \
  "$data/masks" "$data/pictures" "$data/results"
