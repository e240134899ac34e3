// SPDX-License-Identifier: Apache-2.0

#include "larder/write_behind_options.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr int kMostThreads = 256;
constexpr uint64_t kLeastSegment = uint64_t{1} << 12;
constexpr uint64_t kLargestSegment = uint64_t{1} << 30;

template <class Value>
absl::Status Invalid(const char* field, const char* rule, const Value& value) {
  return absl::InvalidArgumentError(
      absl::StrCat("WriteBehindOptions::", field, " must ", rule, ", is ", value));
}

absl::Status CheckPositive(const char* field, uint64_t value) {
  return value > 0 ? absl::OkStatus() : Invalid(field, "be positive", value);
}

absl::Status CheckPositive(const char* field, absl::Duration value) {
  return value > absl::ZeroDuration() ? absl::OkStatus()
                                      : Invalid(field, "be positive", absl::FormatDuration(value));
}

absl::Status CheckNotNegative(const char* field, absl::Duration value) {
  return value >= absl::ZeroDuration()
             ? absl::OkStatus()
             : Invalid(field, "not be negative", absl::FormatDuration(value));
}

absl::Status CheckBackoffs(absl::Duration first, absl::Duration max) {
  if (absl::Status status = CheckPositive("first_backoff", first); !status.ok()) return status;
  if (max >= first) return absl::OkStatus();
  const std::string rule =
      absl::StrCat("be at least first_backoff (", absl::FormatDuration(first), ")");
  return Invalid("max_backoff", rule.c_str(), absl::FormatDuration(max));
}

template <class Enum>
absl::Status CheckEnum(const char* field, Enum value, Enum last) {
  const int number = static_cast<int>(value);
  const bool is_one = number >= 0 && number <= static_cast<int>(last);
  return is_one ? absl::OkStatus() : Invalid(field, "be one that is named", number);
}

}  // namespace

absl::Status WriteBehindOptions::Validate() const {
  for (const absl::Status& status :
       {CheckPositive("max_entries", max_entries), CheckPositive("max_bytes", max_bytes),
        CheckNotNegative("full_timeout", full_timeout),
        CheckPositive("batch_size", uint64_t{batch_size}),
        CheckNotNegative("batch_delay", batch_delay), CheckBackoffs(first_backoff, max_backoff),
        CheckNotNegative("close_timeout", close_timeout),
        CheckPositive("sync_interval", sync_interval),
        CheckEnum("durability", durability, Durability::kJournalSync),
        CheckEnum("coalescing", coalescing, Coalescing::kNone),
        CheckEnum("when_full", when_full, WhenFull::kWriteThrough)}) {
    if (!status.ok()) return status;
  }
  if (threads < 1 || threads > kMostThreads) return Invalid("threads", "be within 1..256", threads);
  if (max_attempts < 0) return Invalid("max_attempts", "not be negative", max_attempts);
  if (durability != Durability::kMemory && journal_directory.empty()) {
    return Invalid("journal_directory", "be named where durability asks for a journal", "empty");
  }
  if (segment_bytes < kLeastSegment || segment_bytes > kLargestSegment) {
    return Invalid("segment_bytes", "be within 4 KiB..1 GiB", segment_bytes);
  }
  return absl::OkStatus();
}

}  // namespace larder
