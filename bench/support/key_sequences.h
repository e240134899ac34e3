// SPDX-License-Identifier: Apache-2.0
//
// The keys that caches are compared with: the same ones in the same order for all, made before
// anything is measured.

#ifndef LARDER_BENCH_SUPPORT_KEY_SEQUENCES_H_
#define LARDER_BENCH_SUPPORT_KEY_SEQUENCES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/string_view.h"

namespace larder::bench {

inline constexpr uint32_t kEntries = 1'000'000;
inline constexpr double kZipfExponent = 0.99;

// The length of each sequence: a power of two, so that going round it costs one instruction.
inline constexpr size_t kAccesses = size_t{1} << 22;
inline constexpr size_t kMixAccesses = size_t{1} << 23;
inline constexpr uint32_t kMixKeys = 10 * kEntries;

enum class Popularity { kZipf, kUniform };

// A permutation of the 64-bit numbers, so that keys are no row of neighbours: the finalizer of
// MurmurHash3 (A. Appleby).
constexpr uint64_t Scatter(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xFF51'AFD7'ED55'8CCDu;
  x = (x ^ (x >> 33)) * 0xC4CE'B9FE'1A85'EC53u;
  return x ^ (x >> 33);
}

// The key of an entry, and what it is mapped to.
constexpr uint64_t NumberKey(uint64_t entry) { return Scatter(entry); }
constexpr uint64_t NumberValue(uint64_t key) { return key + 1; }

// "user:123456", as text in a row, so that reading the sequence costs no cache miss of its own.
class TextKey {
 public:
  // Requires: entry < 10^9.
  explicit TextKey(uint32_t entry);

  std::string_view view() const { return std::string_view(text_, size_); }

 private:
  char text_[15];
  uint8_t size_;
};

// 100 bytes.
std::string TextValue(uint32_t entry);

// abseil's own view, which in older versions is no std::string_view.
inline absl::string_view AbseilView(std::string_view view) {
  return absl::string_view(view.data(), view.size());
}

// Keys of entries 0..kEntries-1, kAccesses of them, in the order in which they are accessed. Made
// on the first call; thread-safe.
const std::vector<uint64_t>& PresentKeys(Popularity popularity);

// As many keys, just as popular, of entries that are not there.
const std::vector<uint64_t>& AbsentKeys();

// The entries of PresentKeys(Popularity::kZipf) by their names.
const std::vector<TextKey>& TextKeys();

// One step of a mixed load.
struct MixedAccess {
  uint64_t key;
  bool put;  // without looking first
};

// kMixAccesses of kMixKeys keys, Zipf-distributed, of which `read_percent` read: 95 or 50. Both
// access the same keys.
const std::vector<MixedAccess>& MixedAccesses(int read_percent);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_KEY_SEQUENCES_H_
