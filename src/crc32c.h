// SPDX-License-Identifier: Apache-2.0
//
// CRC-32C (Castagnoli, RFC 3720 appendix B.4): abseil's, where it has one; else our own.

#ifndef LARDER_SRC_CRC32C_H_
#define LARDER_SRC_CRC32C_H_

#include <cstdint>
#include <string_view>

#if !__has_include("absl/crc/crc32c.h")
#define LARDER_OWN_CRC32C 1
#endif

namespace larder::internal {

// The checksum of some bytes whose checksum is `crc`, followed by `bytes`. That of no bytes is 0.
// Some 5 GB/s where the processor has instructions for it, else some 0.8.
uint32_t ExtendCrc32c(uint32_t crc, std::string_view bytes);

#ifdef LARDER_OWN_CRC32C
// The same without special instructions: what ExtendCrc32c does where there are none.
uint32_t ExtendCrc32cWithTables(uint32_t crc, std::string_view bytes);
#endif

}  // namespace larder::internal

#endif  // LARDER_SRC_CRC32C_H_
