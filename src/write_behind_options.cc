// SPDX-License-Identifier: Apache-2.0

#include "larder/write_behind_options.h"

#include "src/option_checks.h"

namespace larder {
namespace {

constexpr int kMostThreads = 256;
constexpr uint64_t kLeastSegment = uint64_t{1} << 12;
constexpr uint64_t kLargestSegment = uint64_t{1} << 30;

}  // namespace

absl::Status WriteBehindOptions::Validate() const {
  constexpr internal::OptionChecks kCheck("WriteBehindOptions");
  for (const absl::Status& status :
       {kCheck.Positive("max_entries", max_entries), kCheck.Positive("max_bytes", max_bytes),
        kCheck.NotNegative("full_timeout", full_timeout),
        kCheck.Positive("batch_size", uint64_t{batch_size}),
        kCheck.NotNegative("batch_delay", batch_delay),
        kCheck.Positive("first_backoff", first_backoff),
        kCheck.AtLeast("max_backoff", max_backoff, "first_backoff", first_backoff),
        kCheck.NotNegative("close_timeout", close_timeout),
        kCheck.Positive("sync_interval", sync_interval),
        kCheck.Named("durability", durability, Durability::kJournalSync),
        kCheck.Named("coalescing", coalescing, Coalescing::kNone),
        kCheck.Named("when_full", when_full, WhenFull::kWriteThrough)}) {
    if (!status.ok()) return status;
  }
  if (threads < 1 || threads > kMostThreads)
    return kCheck.Invalid("threads", "be within 1..256", threads);
  if (max_attempts < 0) return kCheck.Invalid("max_attempts", "not be negative", max_attempts);
  if (durability != Durability::kMemory && journal_directory.empty()) {
    return kCheck.Invalid("journal_directory", "be named where durability asks for a journal",
                          "empty");
  }
  if (segment_bytes < kLeastSegment || segment_bytes > kLargestSegment) {
    return kCheck.Invalid("segment_bytes", "be within 4 KiB..1 GiB", segment_bytes);
  }
  return absl::OkStatus();
}

}  // namespace larder
