// SPDX-License-Identifier: Apache-2.0
//
// Numbers and strings as bytes, the same on every processor. What files are made of.

#ifndef LARDER_INTERNAL_BYTES_H_
#define LARDER_INTERNAL_BYTES_H_

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace larder::internal {

// An unsigned number's bytes, the lowest first, on this processor.
template <std::unsigned_integral U>
constexpr U LittleEndian(U number) {
  if constexpr (std::endian::native == std::endian::little) {
    return number;
  } else {
    U turned = 0;
    for (size_t i = 0; i < sizeof(U); ++i) {
      turned = static_cast<U>(turned << 8 | ((number >> (8 * i)) & 0xff));
    }
    return turned;
  }
}

// Writes sizeof(U) bytes.
template <std::unsigned_integral U>
void StoreFixed(U number, char* to) {
  const U bytes = LittleEndian(number);
  std::memcpy(to, &bytes, sizeof(U));
}

// Appends sizeof(U) bytes.
template <std::unsigned_integral U>
void AppendFixed(U number, std::string* out) {
  char bytes[sizeof(U)];
  StoreFixed(number, bytes);
  out->append(bytes, sizeof(U));
}

// Reads sizeof(U) bytes.
template <std::unsigned_integral U>
U LoadFixed(const char* bytes) {
  U number;
  std::memcpy(&number, bytes, sizeof(U));
  return LittleEndian(number);
}

// Appends 1 to 10 bytes, 7 bits in each, the lowest first; the top bit says that more follow.
inline void AppendVarint(uint64_t number, std::string* out) {
  char bytes[10];
  size_t size = 0;
  for (; number >= 0x80; number >>= 7) bytes[size++] = static_cast<char>(number | 0x80);
  bytes[size++] = static_cast<char>(number);
  out->append(bytes, size);
}

// Its length, as a varint, then its bytes.
inline void AppendString(std::string_view bytes, std::string* out) {
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

// Takes apart what the functions above made. Once something isn't as it should be, everything else
// isn't, either, and what is read is zero or empty; so it is enough to ask at the end.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  template <std::unsigned_integral U>
  U Fixed() {
    const std::string_view bytes = Bytes(sizeof(U));
    return bytes.empty() ? U{0} : LoadFixed<U>(bytes.data());
  }

  // Only as AppendVarint writes it: in the fewest bytes.
  uint64_t Varint() {
    uint64_t number = 0;
    for (size_t i = 0; i < bytes_.size() && i < 10; ++i) {
      const auto byte = static_cast<unsigned char>(bytes_[i]);
      if (i == 9 && byte > 1) break;
      number |= uint64_t{byte & 0x7fu} << (7 * i);
      if (byte >= 0x80) continue;
      if (i > 0 && byte == 0) break;
      bytes_.remove_prefix(i + 1);
      return number;
    }
    Fail();
    return 0;
  }

  // Refers to the bytes that are read.
  std::string_view Bytes(uint64_t size) {
    if (size > bytes_.size()) {
      Fail();
      return {};
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }

  std::string_view String() { return Bytes(Varint()); }

  std::string_view rest() const { return bytes_; }
  bool ok() const { return ok_; }
  // Whether all was as it should be, and nothing is left.
  bool Finished() const { return ok_ && bytes_.empty(); }

 private:
  void Fail() {
    ok_ = false;
    bytes_ = {};
  }

  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_BYTES_H_
