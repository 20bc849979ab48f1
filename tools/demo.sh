#!/usr/bin/env bash
# The main job, end to end, on synthetic CT and MR volumes: make demo runs it from the root.
# It works in data/demo and models/demo alone; every step resumes or replaces what it finds.
set -euo pipefail

python=.venv/bin/python
data=data/demo
model=models/demo

step() { printf '\n== %s\n' "$*"; }

step "Synthetic patients: to train on, and others to be measured on"
"$python" tools/make_phantom.py --output_dir="$data/train" --num_cases=28 --modality=both --seed=1
"$python" tools/make_phantom.py --output_dir="$data/test" --num_cases=8 --modality=both --seed=2

# One model for both modalities: their cases in one table.
table="$data/cases.csv"
echo "case,image,label,modality" >"$table"
for modality in ct mr; do
  for image in "$data/train/$modality/imagesTr"/*.nii.gz; do
    name=$(basename "$image")
    echo "${name%.nii.gz},train/$modality/imagesTr/$name,train/$modality/labelsTr/$name,${modality^^}"
  done
done >>"$table"

step "Volumes to records of coronal slices"
"$python" tools/make_tfrecords.py --dataset="$table" --output_dir="$data/records" --num_folds=7
"$python" tools/verify_tfrecords.py --records="$data/records"

step "Training"
"$python" -m spleen_tf.train --flagfile=models/phantom/train.flags \
  --records="$data/records" --model_dir="$model"

step "SavedModel"
"$python" -m spleen_tf.export --model_dir="$model" --export_dir="$model/saved_model"

for modality in ct mr; do
  step "Prediction and evaluation of held-out ${modality^^} patients"
  "$python" -m spleen_tf.predict --model="$model/saved_model" \
    --input="$data/test/$modality/imagesTr" --output="$data/masks/$modality" \
    --preview="$data/pictures/$modality"
  "$python" -m spleen_tf.evaluate --predictions="$data/masks/$modality" \
    --labels="$data/test/$modality" --output_dir="$data/results/$modality"
done

step "Results on patients that the model has never seen"
for modality in ct mr; do
  printf '\n%s\n\n' "${modality^^}"
  cat "$data/results/$modality/results.md"
done
printf '\nmasks:    %s\npictures: %s\ntables:   %s\n' \
  "$data/masks" "$data/pictures" "$data/results"
