#!/usr/bin/env bash
# The family of planners, targets and losses on `keydoor`: five paired seeds, decided on before any of
# them ran. EfficientZeroV2 against EfficientZero, simulations of both planners, the four quadrants of
# planning, and the five auxiliary losses.
# benchmarks/family.sh [FOLDER of the runs, default runs], relative to the checkout. The same command
# continues after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs}
out=benchmarks/results
simulations=search.num_simulations=2,4,8,16,32
study() {
  local name=$1
  shift
  ez ablate --study "$name" --env keydoor "$@" --seeds 10,11,12,13,14 --jobs 2 --runs-dir "$runs"
  ez report "$name" --runs-dir "$runs" -o "$out/$name.md" --plots "$out/plots"
}
gumbel=()
for use in acting targets evaluation; do
  gumbel+=(--set "planning.$use=gumbel")
done
study family-v2 --drop "benchmarks/family/agent=v2.toml"
study family-puct --vary "$simulations"
study family-gumbel "${gumbel[@]}" --vary "$simulations"
study family-planning --drop planning --drop planning-acting --drop planning-targets
study family-auxiliary --vary loss.auxiliary=simsiam,spr,contrastive,reconstruction,none
