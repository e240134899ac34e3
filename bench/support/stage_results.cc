// SPDX-License-Identifier: Apache-2.0

#include "bench/support/stage_results.h"

#include <string>

#include "absl/status/status.h"
#include "bench/support/progress.h"
#include "bench/support/tier_parts.h"
#include "benchmark/benchmark.h"

namespace larder::bench {

void GiveUp(benchmark::State& state, TierParts& parts, Stage& stage, const absl::Status& status) {
  stage.Fail(std::string(status.message()));
  GiveUp(state, parts, status);
}

void GiveUp(benchmark::State& state, TierParts& parts, const absl::Status& status) {
  parts.NoteFailure(status);
  state.SkipWithError(std::string(status.message()).c_str());
}

}  // namespace larder::bench
