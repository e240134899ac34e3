// SPDX-License-Identifier: Apache-2.0

#include "larder/remote_options.h"

#include "src/option_checks.h"

namespace larder {

absl::Status RemoteOptions::Validate() const {
  constexpr internal::OptionChecks kCheck("RemoteOptions");
  for (const absl::Status& status :
       {kCheck.Positive("ttl", ttl), kCheck.NotNegative("negative_ttl", negative_ttl),
        kCheck.NotNegative("stale_if_error", stale_if_error),
        kCheck.Positive("retry_after", retry_after), kCheck.Positive("timeout", timeout),
        kCheck.NotNegative("wait_for_other_loads", wait_for_other_loads),
        kCheck.Positive("load_lease", load_lease), kCheck.Positive("write_lease", write_lease),
        kCheck.Named("when_cut_off", when_cut_off, WhenCutOff::kFlush),
        kCheck.Positive("unverified_ttl", unverified_ttl),
        kCheck.Positive("first_probe", first_probe), kCheck.Positive("last_probe", last_probe),
        kCheck.AtLeast("last_probe", last_probe, "first_probe", first_probe),
        kCheck.NotNegative("settle_time", settle_time)}) {
    if (!status.ok()) return status;
  }
  if (failures_to_open < 1) {
    return kCheck.Invalid("failures_to_open", "be positive", failures_to_open);
  }
  return absl::OkStatus();
}

}  // namespace larder
