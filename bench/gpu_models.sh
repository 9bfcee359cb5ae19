#!/usr/bin/env bash
# Train the models that ship, on a GPU, within a time limit each; a run that was cut goes on at the next call.
#   bench/gpu_models.sh DATA OUT [SECONDS]      DATA holds vehicles/ and hit-uav/ in COCO format
# EXTRA="--set epochs=1" makes it a smoke run on a CPU.
set -euo pipefail
data=$1 out=$2 seconds=${3:-480}
python=${PYTHON:-python3}
train() {  # name, then arguments of the trainer
  local name=$1; shift
  timeout --signal=INT "$seconds" "$python" -m training train --run "$out/$name" "$@" ${EXTRA:-} \
    || echo "$name stopped with status $?; its folder holds the last epoch"
}
train vehicles --config small --data "$data/vehicles" --set epochs=400 --set batch_size=16 --set workers=8 \
  --set "augmentation.stretch=[1.0,1.4]" --set augmentation.mosaic=0.7
train hit-uav --config small --data "$data/hit-uav" --set image_size=640 --set epochs=150 --set batch_size=32 \
  --set optimizer.nominal_batch=32 --set workers=12
