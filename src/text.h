// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_SRC_TEXT_H_
#define LARDER_SRC_TEXT_H_

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace larder::internal {

// absl::StrCat for parts that may be std::string_view: where absl::string_view is a class of its
// own, absl::StrCat doesn't take that. Parts are integers and what std::string_view can be made
// from.
template <class... Part>
std::string Concat(const Part&... parts) {
  std::string whole;
  const auto append = [&whole](const auto& part) {
    using Type = std::decay_t<decltype(part)>;
    if constexpr (std::is_integral_v<Type>) {
      absl::StrAppend(&whole, part);
    } else if constexpr (std::is_convertible_v<const Type&, std::string_view>) {
      whole.append(std::string_view(part));
    } else {
      whole.append(part.data(), part.size());  // absl::string_view
    }
  };
  (append(parts), ...);
  return whole;
}

}  // namespace larder::internal

#endif  // LARDER_SRC_TEXT_H_
