// SPDX-License-Identifier: Apache-2.0
//
// Numbers in files: fixed width, little endian, not aligned.

#ifndef LARDER_SRC_LITTLE_ENDIAN_H_
#define LARDER_SRC_LITTLE_ENDIAN_H_

#include <bit>
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace larder::internal {

template <class Number>
Number LittleEndian(Number number) {
  static_assert(std::is_unsigned_v<Number>);
  if constexpr (std::endian::native == std::endian::little) {
    return number;
  } else {
    Number swapped = 0;
    for (size_t i = 0; i < sizeof(Number); ++i) {
      swapped = static_cast<Number>((swapped << 8) | (number & 0xff));
      number = static_cast<Number>(number >> 8);
    }
    return swapped;
  }
}

template <class Number>
void StoreLittleEndian(Number number, char* to) {
  number = LittleEndian(number);
  std::memcpy(to, &number, sizeof(number));
}

template <class Number>
Number LoadLittleEndian(const char* from) {
  Number number;
  std::memcpy(&number, from, sizeof(number));
  return LittleEndian(number);
}

}  // namespace larder::internal

#endif  // LARDER_SRC_LITTLE_ENDIAN_H_
