// SPDX-License-Identifier: Apache-2.0
//
// Codec<T>: values as bytes, for what outlives the process: snapshots, journals, remote tiers.

#ifndef LARDER_CODEC_H_
#define LARDER_CODEC_H_

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "larder/internal/bytes.h"

namespace larder {

// How a T becomes bytes and comes back. Here for std::string, bool, numbers, enums, structs that
// are trivially copyable, and std::optional, pair, tuple, array and vector of what has one. For
// others, specialise it:
//
//   template <>
//   struct larder::Codec<User> {
//     // Names the format. Bytes of another one are never decoded: change it with the format.
//     static std::string Schema() { return "User/2"; }
//     // Appends. May also return a bool or an absl::Status; after false or an error, what was
//     // appended doesn't matter.
//     static void Encode(const User& user, std::string* out) { user.AppendToString(out); }
//     // `bytes`: what one Encode appended. False or an error for what it can't have made; then
//     // what `user` is doesn't matter. For a T without a default constructor:
//     // static absl::StatusOr<User> Decode(std::string_view bytes).
//     static bool Decode(std::string_view bytes, User* user) { return user->ParseFrom(bytes); }
//   };
//
// Where all values have the same number of bytes, static constexpr size_t kBytes may say so: parts
// of something larger then need no length.
//
// Numbers are written with their lowest byte first, the same everywhere; trivially copyable structs
// as they are in memory: their layout must not change while there are such bytes (a change of size
// is noticed; give a struct that changes a Codec of its own) and can't be read on a processor with
// another byte order. Pointers, references and views have none, since what they point to isn't
// theirs; a pointer inside a struct isn't noticed.
//
// Thread safety: functions of a Codec are called from many threads at once.
template <class T>
struct Codec;

namespace internal {

template <class R>
concept CodecResult =
    std::is_void_v<R> || std::same_as<R, bool> || std::convertible_to<R, absl::Status>;

template <class T>
concept DecodesInto = std::default_initializable<T> && requires(std::string_view bytes, T& value) {
  { Codec<T>::Decode(bytes, &value) } -> CodecResult;
  requires !std::is_void_v<decltype(Codec<T>::Decode(bytes, &value))>;
};

template <class T>
concept DecodesAsResult = requires(std::string_view bytes) {
  { Codec<T>::Decode(bytes) } -> std::convertible_to<absl::StatusOr<T>>;
};

}  // namespace internal

// Whether there is a Codec<T>.
template <class T>
concept Codable = (internal::DecodesInto<T> ||
                   internal::DecodesAsResult<T>)&&requires(const T& value, std::string* out) {
  { Codec<T>::Encode(value, out) } -> internal::CodecResult;
  std::string(Codec<T>::Schema());
};

namespace internal {

// A Codec's functions, whatever form they have. What they throw reaches the caller.
template <Codable T>
std::string SchemaOf() {
  return std::string(Codec<T>::Schema());
}

// Appends to `out`; after an error, something may have been appended.
template <Codable T>
absl::Status Encode(const T& value, std::string* out) {
  using Result = decltype(Codec<T>::Encode(value, out));
  if constexpr (std::is_void_v<Result>) {
    Codec<T>::Encode(value, out);
    return absl::OkStatus();
  } else if constexpr (std::is_same_v<Result, bool>) {
    if (Codec<T>::Encode(value, out)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("a value can't be encoded as ", SchemaOf<T>()));
  } else {
    return Codec<T>::Encode(value, out);
  }
}

template <Codable T>
absl::StatusOr<T> Decode(std::string_view bytes) {
  if constexpr (DecodesAsResult<T>) {
    return Codec<T>::Decode(bytes);
  } else {
    T value{};
    if constexpr (std::is_same_v<decltype(Codec<T>::Decode(bytes, &value)), bool>) {
      if (!Codec<T>::Decode(bytes, &value)) {
        return absl::DataLossError(
            absl::StrCat(bytes.size(), " bytes that are no ", SchemaOf<T>()));
      }
    } else {
      absl::Status status = Codec<T>::Decode(bytes, &value);
      if (!status.ok()) return status;
    }
    return value;
  }
}

// Whether all values of a T have the same number of bytes: Codec<T>::kBytes.
template <class T>
concept FixedBytes = requires {
  { Codec<T>::kBytes } -> std::convertible_to<size_t>;
};

// A part of something larger: with its length before it, unless that is always the same.
template <Codable T>
absl::Status EncodePart(const T& value, std::string* out) {
  if constexpr (FixedBytes<T>) {
    return Encode(value, out);
  } else {
    std::string bytes;
    if (absl::Status status = Encode(value, &bytes); !status.ok()) return status;
    AppendString(bytes, out);
    return absl::OkStatus();
  }
}

template <Codable T>
absl::StatusOr<T> DecodePart(ByteReader& reader) {
  if constexpr (FixedBytes<T>) {
    return Decode<T>(reader.Bytes(Codec<T>::kBytes));
  } else {
    const std::string_view bytes = reader.String();
    if (!reader.ok()) return absl::DataLossError("bytes are missing");
    return Decode<T>(bytes);
  }
}

// What a type refers to, or may: never as bytes.
template <class T>
concept Refers = std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_null_pointer_v<T> ||
    std::ranges::view<T> || requires {
  typename T::element_type;  // std::span, shared_ptr, observer_ptr ...
} || requires(T& t) {
  { t.get() } -> std::same_as<typename T::type&>;               // std::reference_wrapper
} ||(requires(T& t) { t.data(); } && !std::is_aggregate_v<T>);  // absl::string_view, absl::Span

// What is written part by part, or not at all.
template <class T>
inline constexpr bool kHasParts = false;
template <class T>
inline constexpr bool kHasParts<std::optional<T>> = true;
template <class A, class B>
inline constexpr bool kHasParts<std::pair<A, B>> = true;
template <class... Ts>
inline constexpr bool kHasParts<std::tuple<Ts...>> = true;
template <class T, size_t kSize>
inline constexpr bool kHasParts<std::array<T, kSize>> = true;

template <class T>
concept PlainStruct = std::is_trivially_copyable_v<T> &&
                      (std::is_class_v<T> || std::is_union_v<T> ||
                       std::same_as<T, long double>)&&!std::is_empty_v<T> &&
                      !Refers<T> && !kHasParts<T>;

template <class T>
concept PlainNumber = (std::integral<T> || std::same_as<T, float> ||
                       std::same_as<T, double>)&&!std::same_as<T, bool>;

template <size_t kBytes>
using UnsignedOf = std::conditional_t<
    kBytes == 1, uint8_t,
    std::conditional_t<kBytes == 2, uint16_t, std::conditional_t<kBytes == 4, uint32_t, uint64_t>>>;

}  // namespace internal

// The bytes themselves.
template <class Traits, class Allocator>
struct Codec<std::basic_string<char, Traits, Allocator>> {
  using String = std::basic_string<char, Traits, Allocator>;
  static std::string Schema() { return "string"; }
  static void Encode(const String& value, std::string* out) {
    out->append(value.data(), value.size());
  }
  static bool Decode(std::string_view bytes, String* value) {
    value->assign(bytes.data(), bytes.size());
    return true;
  }
};

template <>
struct Codec<bool> {
  static constexpr size_t kBytes = 1;
  static std::string Schema() { return "bool"; }
  static void Encode(bool value, std::string* out) { out->push_back(value ? 1 : 0); }
  static bool Decode(std::string_view bytes, bool* value) {
    if (bytes.size() != 1 || static_cast<unsigned char>(bytes[0]) > 1) return false;
    *value = bytes[0] == 1;
    return true;
  }
};

// "u8" to "u64", "i8" to "i64", "f32", "f64".
template <internal::PlainNumber T>
struct Codec<T> {
  static constexpr size_t kBytes = sizeof(T);
  static std::string Schema() {
    const char* kind = std::is_floating_point_v<T> ? "f" : std::is_signed_v<T> ? "i" : "u";
    return absl::StrCat(kind, 8 * sizeof(T));
  }
  static void Encode(T value, std::string* out) {
    internal::AppendFixed(std::bit_cast<internal::UnsignedOf<sizeof(T)>>(value), out);
  }
  static bool Decode(std::string_view bytes, T* value) {
    if (bytes.size() != sizeof(T)) return false;
    *value = std::bit_cast<T>(internal::LoadFixed<internal::UnsignedOf<sizeof(T)>>(bytes.data()));
    return true;
  }
};

// As its underlying type. Any number is taken for one of the enum.
template <class T>
requires std::is_enum_v<T>
struct Codec<T> {
  using Number = std::underlying_type_t<T>;
  static constexpr size_t kBytes = Codec<Number>::kBytes;
  static std::string Schema() { return absl::StrCat("enum:", Codec<Number>::Schema()); }
  static void Encode(T value, std::string* out) {
    Codec<Number>::Encode(static_cast<Number>(value), out);
  }
  static bool Decode(std::string_view bytes, T* value) {
    Number number;
    if (!Codec<Number>::Decode(bytes, &number)) return false;
    *value = static_cast<T>(number);
    return true;
  }
};

template <internal::PlainStruct T>
struct Codec<T> {
  static constexpr size_t kBytes = sizeof(T);
  // With its size and alignment, and the byte order where it isn't the common one.
  static std::string Schema() {
    return absl::StrCat("pod:", sizeof(T), ":", alignof(T),
                        std::endian::native == std::endian::little ? "" : ":big");
  }
  static void Encode(const T& value, std::string* out) {
    out->append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  static absl::StatusOr<T> Decode(std::string_view bytes) {
    if (bytes.size() != sizeof(T)) {
      return absl::DataLossError(absl::StrCat(bytes.size(), " bytes that are no ", Schema()));
    }
    std::array<char, sizeof(T)> copy;
    std::memcpy(copy.data(), bytes.data(), sizeof(T));
    return std::bit_cast<T>(copy);
  }
};

// No bytes, or a byte that is 1 and the value.
template <Codable T>
struct Codec<std::optional<T>> {
  static std::string Schema() { return absl::StrCat("optional<", internal::SchemaOf<T>(), ">"); }
  static absl::Status Encode(const std::optional<T>& value, std::string* out) {
    if (!value.has_value()) return absl::OkStatus();
    out->push_back(1);
    return internal::Encode(*value, out);
  }
  static absl::StatusOr<std::optional<T>> Decode(std::string_view bytes) {
    if (bytes.empty()) return std::optional<T>();
    if (bytes[0] != 1) return absl::DataLossError("neither a value nor none");
    absl::StatusOr<T> value = internal::Decode<T>(bytes.substr(1));
    if (!value.ok()) return value.status();
    return std::optional<T>(*std::move(value));
  }
};

namespace internal {

// Of several types, one part each, in order.
template <class Tuple, class... Ts>
struct TupleCodec {
  static std::string Schema() {
    std::string types;
    ((types += (types.empty() ? "" : ",") + SchemaOf<Ts>()), ...);
    return absl::StrCat("tuple<", types, ">");
  }
  static absl::Status Encode(const Tuple& value, std::string* out) {
    absl::Status status;
    std::apply(
        [&](const Ts&... parts) {
          static_cast<void>(((status = EncodePart<Ts>(parts, out)).ok() && ...));
        },
        value);
    return status;
  }
  static absl::StatusOr<Tuple> Decode(std::string_view bytes) {
    ByteReader reader(bytes);
    // Braces: in order.
    std::tuple<absl::StatusOr<Ts>...> parts{DecodePart<Ts>(reader)...};
    if (!reader.Finished()) return absl::DataLossError(absl::StrCat("no ", Schema()));
    return std::apply(
        [](absl::StatusOr<Ts>&... part) -> absl::StatusOr<Tuple> {
          absl::Status status;
          static_cast<void>(((status = part.status()).ok() && ...));
          if (!status.ok()) return status;
          return Tuple(*std::move(part)...);
        },
        parts);
  }
};

}  // namespace internal

template <Codable A, Codable B>
struct Codec<std::pair<A, B>> : internal::TupleCodec<std::pair<A, B>, A, B> {};

template <Codable... Ts>
struct Codec<std::tuple<Ts...>> : internal::TupleCodec<std::tuple<Ts...>, Ts...> {};

namespace internal {

// Whether part after part is what is in memory.
template <class T>
concept CopiedWhole = PlainNumber<T> && std::endian::native == std::endian::little;

// Of a vector or an array: part after part.
template <class Parts>
absl::Status EncodeParts(const Parts& parts, std::string* out) {
  using T = typename Parts::value_type;
  if constexpr (CopiedWhole<T>) {
    out->append(reinterpret_cast<const char*>(parts.data()), parts.size() * sizeof(T));
  } else {
    for (const T& part : parts) {
      if (absl::Status status = EncodePart<T>(part, out); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace internal

template <Codable T, class Allocator>
struct Codec<std::vector<T, Allocator>> {
  using Vector = std::vector<T, Allocator>;
  static std::string Schema() { return absl::StrCat("vector<", internal::SchemaOf<T>(), ">"); }
  static absl::Status Encode(const Vector& values, std::string* out) {
    return internal::EncodeParts(values, out);
  }
  static absl::Status Decode(std::string_view bytes, Vector* values) {
    if constexpr (internal::CopiedWhole<T>) {
      if (bytes.size() % sizeof(T) != 0) return absl::DataLossError("not a whole number of parts");
      values->resize(bytes.size() / sizeof(T));
      if (!bytes.empty()) std::memcpy(values->data(), bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    for (internal::ByteReader reader(bytes); !reader.rest().empty();) {
      absl::StatusOr<T> value = internal::DecodePart<T>(reader);
      if (!value.ok()) return value.status();
      values->push_back(*std::move(value));
    }
    return absl::OkStatus();
  }
};

template <Codable T, size_t kSize>
requires(kSize > 0 && std::default_initializable<T>) struct Codec<std::array<T, kSize>> {
  using Array = std::array<T, kSize>;
  static std::string Schema() {
    return absl::StrCat("array<", internal::SchemaOf<T>(), ",", kSize, ">");
  }
  static absl::Status Encode(const Array& values, std::string* out) {
    return internal::EncodeParts(values, out);
  }
  static absl::Status Decode(std::string_view bytes, Array* values) {
    if constexpr (internal::CopiedWhole<T>) {
      if (bytes.size() != kSize * sizeof(T)) return absl::DataLossError("not as many parts");
      std::memcpy(values->data(), bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    internal::ByteReader reader(bytes);
    for (T& value : *values) {
      absl::StatusOr<T> decoded = internal::DecodePart<T>(reader);
      if (!decoded.ok()) return decoded.status();
      value = *std::move(decoded);
    }
    return reader.Finished() ? absl::OkStatus() : absl::DataLossError("too many bytes");
  }
};

}  // namespace larder

#endif  // LARDER_CODEC_H_
