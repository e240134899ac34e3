// SPDX-License-Identifier: Apache-2.0

#include "tests/support/coherence_truth.h"

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace larder::test {
namespace {

constexpr int kOrderBits = 18;
static_assert(CoherenceTruth::kMostVersions < 1 << kOrderBits);

void AbortFull(const char* what) {
  std::fprintf(stderr, "the run is too long for its log of %s\n", what);
  std::abort();
}

}  // namespace

int64_t MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// The lowest bit tells version 0 from what isn't known.
uint64_t CoherenceTruth::Pack(const Version& version) {
  return version.id << (kOrderBits + 2) | version.order << 2 | (version.is_erased ? 2 : 0) | 1;
}

CoherenceTruth::Version CoherenceTruth::Unpack(uint64_t packed) {
  if (packed == 0) return {};
  return {.order = packed >> 2 & ((1 << kOrderBits) - 1),
          .id = packed >> (kOrderBits + 2),
          .is_erased = (packed & 2) != 0};
}

uint64_t CoherenceTruth::NewId(int server) {
  const uint64_t id = ++last_id_;
  if (id >= kMostIds) AbortFull("ids");
  servers_[id] = static_cast<uint8_t>(server);
  return id;
}

CoherenceTruth::Version CoherenceTruth::Newest(int key) const {
  return Unpack(newest_[key].load());
}

uint64_t CoherenceTruth::Write(int key, uint64_t id, bool is_erased) {
  uint64_t before = newest_[key].load();
  uint64_t packed;
  uint64_t order;
  do {
    order = Unpack(before).order + 1;
    if (order >= kMostVersions) AbortFull("versions");
    // Before anybody can read it.
    orders_[id] = order;
    packed = Pack({.order = order, .id = id, .is_erased = is_erased});
  } while (!newest_[key].compare_exchange_weak(before, packed));
  entries_[key][order].written_at = MonotonicNow();
  entries_[key][order].packed = packed;
  return order;
}

void CoherenceTruth::Overwritten(int key, uint64_t order) {
  entries_[key][order - 1].overwritten_at = MonotonicNow();
}

std::string CoherenceTruth::KeyName(int key) {
  return absl::StrCat(IsForeign(key) ? "foreign" : "own", key);
}

int CoherenceTruth::KeyNumber(std::string_view name) {
  int key = -1;
  const size_t digits = std::min(name.find_first_of("0123456789"), name.size());
  if (!absl::SimpleAtoi(std::string(name.substr(digits)), &key) || key < 0 || key >= kKeys) {
    std::abort();
  }
  return key;
}

std::string CoherenceTruth::ValueOf(int key, uint64_t id) {
  const size_t size = 60 + id * 37 % 540;
  std::string value = absl::StrCat("value ", id, " of ", key, " ");
  value.append(size - std::min(size, value.size()), static_cast<char>('a' + id % 26));
  return value;
}

std::optional<uint64_t> CoherenceTruth::IdOf(int key, std::string_view value) {
  if (!value.starts_with("value ")) return std::nullopt;
  const std::string_view rest = value.substr(6);
  uint64_t id = 0;
  if (!absl::SimpleAtoi(std::string(rest.substr(0, rest.find(' '))), &id)) return std::nullopt;
  if (id == 0 || id >= kMostIds || value != ValueOf(key, id)) return std::nullopt;
  return id;
}

// A version is overwritten at the latest when one that came after it is: the process that was to
// say so may have been killed.
int64_t CoherenceTruth::OverwrittenAt(int key, uint64_t order) const {
  int64_t first = 0;
  for (const uint64_t newest = Newest(key).order; order < newest; ++order) {
    const int64_t at = entries_[key][order].overwritten_at.load();
    if (at != 0 && (first == 0 || at < first)) first = at;
  }
  return first;
}

std::optional<int64_t> CoherenceTruth::OverwrittenAt(const Reading& reading) const {
  if (reading.id.has_value()) {
    const uint64_t order = OrderOf(*reading.id);
    if (order == 0) {
      if (*reading.id <= last_id_.load() && ServerOf(*reading.id) == reading.server) return 0;
      return std::nullopt;
    }
    if (order < reading.least) return std::nullopt;
    return OverwrittenAt(reading.key, order);
  }
  // Which erasure was found nobody knows: perhaps the last one, which is the newest.
  for (uint64_t order = Newest(reading.key).order; order >= reading.least; --order) {
    const uint64_t packed = entries_[reading.key][order].packed.load();
    const bool may_be_erased = order == 0 || packed == 0 || Unpack(packed).is_erased;
    if (may_be_erased) return OverwrittenAt(reading.key, order);
    if (order == 0) break;
  }
  return std::nullopt;
}

std::string CoherenceTruth::History(int key, int64_t now) const {
  const auto before = [now](int64_t time) { return static_cast<double>(now - time) / 1e6; };
  const uint64_t newest = Newest(key).order;
  std::string text;
  for (uint64_t order = newest > 12 ? newest - 12 : 0; order <= newest; ++order) {
    const Entry& entry = entries_[key][order];
    const Version version = Unpack(entry.packed.load());
    absl::StrAppend(&text, "  version ", order, ": write ", version.id, " by server ",
                    ServerOf(version.id), version.is_erased ? ", erased" : "");
    if (const int64_t at = entry.written_at.load(); at != 0) {
      absl::StrAppend(&text, ", ", before(at), " ms ago");
    }
    if (const int64_t at = entry.overwritten_at.load(); at != 0) {
      absl::StrAppend(&text, ", overwritten ", before(at), " ms ago");
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

}  // namespace larder::test
