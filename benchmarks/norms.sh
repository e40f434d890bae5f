#!/usr/bin/env bash
# Norms of the network on `keydoor`: the learning rate of each on a seed of its own, then five paired seeds.
# benchmarks/norms.sh [FOLDER of the runs, default runs], relative to the checkout. The same command goes on where it
# stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs}
rates=--vary=optimiser.learning_rate=0.001,0.003,0.01
norms=batch,batch-authors,batch-by-role,batch-recalibrated,batch-renorm,group,group-standardised,layer,rms
ez ablate --env keydoor --vary network.norm=$norms $rates --seeds 100, --jobs 2 --study norm-tuning --runs-dir "$runs"
drops=()
for norm in preset-rate authors by-role recalibrated renorm group layer rms; do
  drops+=(--drop "benchmarks/norms/$norm.toml")
done
ez ablate --env keydoor "${drops[@]}" --set optimiser.learning_rate=0.01 \
  --seeds 10,11,12,13,14 --jobs 2 --study norms --runs-dir "$runs"
ez report norms --runs-dir "$runs" -o benchmarks/results/norms.md --plots benchmarks/results/plots
