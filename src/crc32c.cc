// SPDX-License-Identifier: Apache-2.0
#include "src/crc32c.h"

#ifdef LARDER_OWN_CRC32C

#include <array>
#include <cstddef>
#include <cstring>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "larder/internal/bytes.h"

namespace larder::internal {
namespace {

// The polynomial 0x1edc6f41 with its bits reversed.
constexpr uint32_t kPolynomial = 0x82f63b78;

// kTables[0][b] is what byte b does to the checksum; kTables[n][b] the same with n zeros after it.
// Eight bytes are then eight independent lookups: Kounavis and Berry, "Novel Table Lookup-Based
// Algorithms for High-Performance CRC Generation" (2008), slicing by 8.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t zeros = 1; zeros < tables.size(); ++zeros)
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[zeros - 1][byte];
      tables[zeros][byte] = (crc >> 8) ^ tables[0][crc & 0xff];
    }
  return tables;
}

constexpr Tables kTables = MakeTables();

#if defined(__x86_64__) && defined(__GNUC__)
#define LARDER_CRC32C_INSTRUCTIONS 1

bool HasInstructions() { return __builtin_cpu_supports("sse4.2") != 0; }

__attribute__((target("sse4.2"))) uint32_t ExtendWithInstructions(uint32_t crc,
                                                                  std::string_view bytes) {
  uint64_t state = ~crc;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, sizeof(word));
    state = __builtin_ia32_crc32di(state, word);
  }
  for (; left > 0; --left, ++at)
    state = __builtin_ia32_crc32qi(static_cast<uint32_t>(state), static_cast<uint8_t>(*at));
  return ~static_cast<uint32_t>(state);
}

#elif defined(__aarch64__) && defined(__linux__)
#define LARDER_CRC32C_INSTRUCTIONS 1

bool HasInstructions() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

// In assembler, as compilers differ in how one function is allowed an extension.
uint32_t ExtendWithInstructions(uint32_t crc, std::string_view bytes) {
  uint32_t state = ~crc;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    const auto word = LoadFixed<uint64_t>(at);
    asm(".arch_extension crc\n\tcrc32cx %w0, %w0, %1" : "+r"(state) : "r"(word));
  }
  for (; left > 0; --left, ++at)
    asm(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1"
        : "+r"(state)
        : "r"(static_cast<uint32_t>(static_cast<uint8_t>(*at))));
  return ~state;
}
#endif

}  // namespace

uint32_t ExtendCrc32cWithTables(uint32_t crc, std::string_view bytes) {
  uint32_t state = ~crc;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    const uint64_t word = LoadFixed<uint64_t>(at) ^ state;
    state = 0;
    for (size_t i = 0; i < 8; ++i) state ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; left > 0; --left, ++at)
    state = (state >> 8) ^ kTables[0][(state ^ static_cast<uint8_t>(*at)) & 0xff];
  return ~state;
}

uint32_t ExtendCrc32c(uint32_t crc, std::string_view bytes) {
#ifdef LARDER_CRC32C_INSTRUCTIONS
  static const bool has_instructions = HasInstructions();
  if (has_instructions) return ExtendWithInstructions(crc, bytes);
#endif
  return ExtendCrc32cWithTables(crc, bytes);
}

}  // namespace larder::internal

#else

#include "absl/crc/crc32c.h"

namespace larder::internal {

uint32_t ExtendCrc32c(uint32_t crc, std::string_view bytes) {
  return static_cast<uint32_t>(
      absl::ExtendCrc32c(absl::crc32c_t(crc), absl::string_view(bytes.data(), bytes.size())));
}

}  // namespace larder::internal

#endif  // LARDER_OWN_CRC32C
