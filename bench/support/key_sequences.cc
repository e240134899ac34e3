// SPDX-License-Identifier: Apache-2.0

#include "bench/support/key_sequences.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/support/zipf.h"

namespace larder::bench {
namespace {

constexpr uint64_t kSeed = 20'250'131;

const std::vector<uint32_t>& ZipfEntries() {
  static const std::vector<uint32_t> entries = ZipfKeys(kEntries, kZipfExponent, kAccesses, kSeed);
  return entries;
}

std::vector<uint64_t> NumberKeys(const std::vector<uint32_t>& entries, uint64_t first) {
  std::vector<uint64_t> keys;
  keys.reserve(entries.size());
  for (const uint32_t entry : entries) keys.push_back(NumberKey(first + entry));
  return keys;
}

std::vector<TextKey> NamesOf(const std::vector<uint32_t>& entries) {
  std::vector<TextKey> keys;
  keys.reserve(entries.size());
  for (const uint32_t entry : entries) keys.push_back(TextKey(entry));
  return keys;
}

std::vector<MixedAccess> Mixed(int read_percent) {
  static const std::vector<uint32_t> entries =
      ZipfKeys(kMixKeys, kZipfExponent, kMixAccesses, kSeed);
  std::vector<MixedAccess> accesses;
  accesses.reserve(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const bool put = Scatter(kSeed + i) % 100 >= static_cast<uint64_t>(read_percent);
    accesses.push_back({.key = NumberKey(entries[i]), .put = put});
  }
  return accesses;
}

}  // namespace

TextKey::TextKey(uint32_t entry) {
  const std::string text = absl::StrCat("user:", entry);
  size_ = static_cast<uint8_t>(std::min(text.size(), sizeof(text_)));
  std::copy_n(text.data(), size_, text_);
}

std::string TextValue(uint32_t entry) {
  std::string value = absl::StrCat("the value of user ", entry, ", ");
  value.resize(100, '.');
  return value;
}

const std::vector<uint64_t>& PresentKeys(Popularity popularity) {
  static const std::vector<uint64_t> zipf = NumberKeys(ZipfEntries(), 0);
  if (popularity == Popularity::kZipf) return zipf;
  static const std::vector<uint64_t> uniform =
      NumberKeys(UniformKeys(kEntries, kAccesses, kSeed), 0);
  return uniform;
}

const std::vector<uint64_t>& AbsentKeys() {
  static const std::vector<uint64_t> keys = NumberKeys(ZipfEntries(), kEntries);
  return keys;
}

const std::vector<TextKey>& TextKeys() {
  static const std::vector<TextKey> keys = NamesOf(ZipfEntries());
  return keys;
}

const std::vector<MixedAccess>& MixedAccesses(int read_percent) {
  static const std::vector<MixedAccess> mostly_reads = Mixed(95);
  static const std::vector<MixedAccess> half_reads = Mixed(50);
  return read_percent == 95 ? mostly_reads : half_reads;
}

}  // namespace larder::bench
