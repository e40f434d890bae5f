#!/usr/bin/env bash
# The laptop hour of RESULTS.md: a first result and both studies on two CPU cores, with their tables and
# plots. About 85 minutes; the same command goes on where it stopped.
# benchmarks/laptop.sh [FOLDER for the results, default benchmarks/results] [FOLDER of the runs, default runs]
# Both are relative to the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
runs=${2:-runs}
drops=(--drop consistency --drop value-prefix --drop off-policy-correction)
ez train --env catch --runs-dir "$runs"
ez ablate --env keydoor "${drops[@]}" --seeds 5 --jobs 2 --study keydoor --runs-dir "$runs"
ez ablate --env catch "${drops[@]}" --seeds 5 --jobs 2 --study catch --runs-dir "$runs" \
  --set schedule.env_steps=2800
for study in keydoor catch; do
  ez report "$study" --runs-dir "$runs" -o "$out/$study.md" --plots "$out/plots"
  ez report "$study" --runs-dir "$runs" -o "$out/$study.json"
done
python benchmarks/collect.py
