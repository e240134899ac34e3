// SPDX-License-Identifier: Apache-2.0

#include "larder/codec.h"

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

enum class Colour : uint16_t { kRed = 1, kBlue = 513 };

struct Point {
  int32_t x;
  int32_t y;
  friend bool operator==(const Point&, const Point&) = default;
};

// Without a default constructor, and with a format that refuses some values.
class Even {
 public:
  explicit Even(int value) : value(value) {}
  int value;
  friend bool operator==(const Even&, const Even&) = default;
};

struct Pushy {
  std::string text;
};

}  // namespace

template <>
struct Codec<Even> {
  static std::string_view Schema() { return "Even/1"; }
  static absl::Status Encode(const Even& even, std::string* out) {
    if (even.value % 2 != 0) return absl::InvalidArgumentError("odd");
    Codec<int>::Encode(even.value, out);
    return absl::OkStatus();
  }
  static absl::StatusOr<Even> Decode(std::string_view bytes) {
    int value;
    if (!Codec<int>::Decode(bytes, &value)) return absl::DataLossError("short");
    return Even(value);
  }
};

template <>
struct Codec<Pushy> {
  static constexpr const char* Schema() { return "Pushy/1"; }
  static bool Encode(const Pushy& value, std::string* out) {
    out->append(value.text);
    return !value.text.empty();
  }
  static absl::Status Decode(std::string_view bytes, Pushy* value) {
    value->text = bytes;
    return bytes.empty() ? absl::DataLossError("empty") : absl::OkStatus();
  }
};

namespace {

template <class T>
std::string Encoded(const T& value) {
  std::string bytes;
  EXPECT_EQ(internal::Encode(value, &bytes), absl::OkStatus());
  return bytes;
}

template <class T>
void ExpectComesBack(const T& value) {
  const std::string bytes = Encoded(value);
  const absl::StatusOr<T> decoded = internal::Decode<T>(bytes);
  ASSERT_EQ(decoded.status(), absl::OkStatus()) << internal::SchemaOf<T>();
  EXPECT_TRUE(*decoded == value) << internal::SchemaOf<T>();
}

TEST(CodecTest, ValuesComeBack) {
  ExpectComesBack(std::string());
  ExpectComesBack(std::string("a\0b", 3));
  ExpectComesBack(true);
  ExpectComesBack(false);
  ExpectComesBack('x');
  ExpectComesBack<int8_t>(-1);
  ExpectComesBack(std::numeric_limits<int64_t>::min());
  ExpectComesBack(std::numeric_limits<uint64_t>::max());
  ExpectComesBack(-1.5f);
  ExpectComesBack(1e300);
  ExpectComesBack(Colour::kBlue);
  ExpectComesBack(Point{-1, 1 << 30});
  ExpectComesBack(absl::Seconds(3));
  ExpectComesBack(Even(4));
  ExpectComesBack(std::optional<std::string>());
  ExpectComesBack(std::optional<std::string>(""));
  ExpectComesBack(std::optional<std::optional<int>>(std::optional<int>()));
  ExpectComesBack(std::pair<std::string, int>("a", 7));
  ExpectComesBack(std::tuple<>());
  ExpectComesBack(std::tuple<int, std::string, std::pair<Point, bool>>(1, "b", {{2, 3}, true}));
  ExpectComesBack(std::vector<float>{1, 2, 3});
  ExpectComesBack(std::vector<std::string>{"", "a", std::string(300, 'b')});
  ExpectComesBack(std::vector<bool>{true, false, true});
  ExpectComesBack(std::vector<Even>{Even(2), Even(-8)});
  ExpectComesBack(std::array<std::string, 2>{"x", ""});
  ExpectComesBack(std::array<double, 3>{0.5, 1, 2});
  ExpectComesBack(std::vector<int>());
  ExpectComesBack(std::array<Point, 2>{Point{1, 2}, Point{3, 4}});
}

TEST(CodecTest, TheBytesAreTheSameOnEveryProcessor) {
  EXPECT_EQ(Encoded<uint32_t>(0x01020304), "\4\3\2\1");
  EXPECT_EQ(Encoded<int16_t>(-2), "\xfe\xff");
  EXPECT_EQ(Encoded(1.0), std::string("\0\0\0\0\0\0\xf0\x3f", 8));
  EXPECT_EQ(Encoded(Colour::kBlue), "\1\2");
  EXPECT_EQ(Encoded(true), "\1");
  EXPECT_EQ(Encoded(std::string("abc")), "abc");
  EXPECT_EQ(Encoded(std::vector<uint16_t>{1, 2}), std::string("\1\0\2\0", 4));
  EXPECT_EQ(Encoded(std::vector<std::string>{"ab", "c"}), "\2ab\1c");
  EXPECT_EQ(Encoded(std::pair<uint8_t, std::string>(7, "ab")), "\7\2ab");
  EXPECT_EQ(Encoded(std::optional<uint8_t>(7)), "\1\7");
}

TEST(CodecTest, SchemasNameTheFormat) {
  EXPECT_EQ(internal::SchemaOf<std::string>(), "string");
  EXPECT_EQ(internal::SchemaOf<long>(), "i64");
  EXPECT_EQ(internal::SchemaOf<long long>(), "i64");
  EXPECT_EQ(internal::SchemaOf<uint8_t>(), "u8");
  EXPECT_EQ(internal::SchemaOf<double>(), "f64");
  EXPECT_EQ(internal::SchemaOf<bool>(), "bool");
  EXPECT_EQ(internal::SchemaOf<Colour>(), "enum:u16");
  EXPECT_EQ(internal::SchemaOf<Point>(), "pod:8:4");
  EXPECT_EQ(internal::SchemaOf<Even>(), "Even/1");
  EXPECT_EQ((internal::SchemaOf<std::vector<std::pair<std::string, Pushy>>>()),
            "vector<tuple<string,Pushy/1>>");
  EXPECT_EQ((internal::SchemaOf<std::optional<std::array<Pushy, 3>>>()),
            "optional<array<Pushy/1,3>>");
}

template <class T>
absl::StatusCode CodeOf(std::string_view bytes) {
  return internal::Decode<T>(bytes).status().code();
}

TEST(CodecTest, BytesThatNoValueHasAreErrors) {
  EXPECT_EQ(CodeOf<uint32_t>("abc"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<uint32_t>("abcde"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<bool>("\2"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<bool>(""), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<Colour>("a"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<Point>("1234567"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<Even>("a"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<Pushy>(""), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<std::optional<uint8_t>>("\2a"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<std::optional<uint8_t>>("\1"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<std::vector<uint16_t>>("abc"), absl::StatusCode::kDataLoss);
  EXPECT_EQ(CodeOf<std::vector<std::string>>("\5ab"), absl::StatusCode::kDataLoss);
  EXPECT_EQ((CodeOf<std::array<uint8_t, 2>>("a")), absl::StatusCode::kDataLoss);
  EXPECT_EQ((CodeOf<std::array<uint8_t, 2>>("abc")), absl::StatusCode::kDataLoss);
  EXPECT_EQ((CodeOf<std::array<std::string, 2>>("\1a")), absl::StatusCode::kDataLoss);
  EXPECT_EQ((CodeOf<std::pair<uint8_t, bool>>("a\1b")), absl::StatusCode::kDataLoss);
  EXPECT_EQ((CodeOf<std::pair<uint8_t, std::string>>("a\xff")), absl::StatusCode::kDataLoss);
}

TEST(CodecTest, WhatAPartCannotEncodeTheWholeCannot) {
  std::string bytes;
  EXPECT_EQ(internal::Encode(Even(3), &bytes).message(), "odd");
  EXPECT_EQ(internal::Encode(std::vector<Even>{Even(2), Even(3)}, &bytes).message(), "odd");
  EXPECT_EQ(internal::Encode(std::optional<Even>(Even(3)), &bytes).message(), "odd");
  EXPECT_EQ(internal::Encode(std::pair<Even, int>(Even(3), 1), &bytes).message(), "odd");
  EXPECT_EQ(internal::Encode(std::array<Pushy, 1>(), &bytes).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CodecTest, WhatRefersToOthersHasNone) {
  struct NotPlain {
    std::string text;
  };
  EXPECT_FALSE(Codable<int*>);
  EXPECT_FALSE(Codable<const char*>);
  EXPECT_FALSE(Codable<std::nullptr_t>);
  EXPECT_FALSE(Codable<int Point::*>);
  EXPECT_FALSE(Codable<std::string_view>);
  EXPECT_FALSE(Codable<absl::string_view>);
  EXPECT_FALSE(Codable<std::span<int>>);
  EXPECT_FALSE(Codable<absl::Span<int>>);
  EXPECT_FALSE(Codable<std::reference_wrapper<int>>);
  EXPECT_FALSE(Codable<std::unique_ptr<int>>);
  EXPECT_FALSE(Codable<std::vector<const char*>>);
  EXPECT_FALSE((Codable<std::pair<std::string_view, int>>));
  EXPECT_FALSE(Codable<NotPlain>);
  EXPECT_FALSE((Codable<std::array<int*, 2>>));
  EXPECT_FALSE((Codable<std::optional<std::array<Even, 2>>>));
}

TEST(ByteReaderTest, ReadsVarintsAsTheyAreWritten) {
  for (const uint64_t number : {uint64_t{0}, uint64_t{127}, uint64_t{128}, uint64_t{1} << 35,
                                uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string bytes;
    internal::AppendVarint(number, &bytes);
    internal::ByteReader reader(bytes);
    EXPECT_EQ(reader.Varint(), number);
    EXPECT_TRUE(reader.Finished()) << number;
    for (size_t size = 0; size < bytes.size(); ++size) {
      internal::ByteReader torn(std::string_view(bytes).substr(0, size));
      EXPECT_EQ(torn.Varint(), 0u);
      EXPECT_FALSE(torn.ok());
    }
  }
}

TEST(ByteReaderTest, RefusesVarintsThatAreTooLargeOrTooLong) {
  for (const std::string& bytes : {std::string(9, '\xff') + "\2", std::string(10, '\xff') + "\1",
                                   std::string("\x80\0", 2), std::string("\xff\x80\0", 3)}) {
    internal::ByteReader reader(bytes);
    EXPECT_EQ(reader.Varint(), 0u);
    EXPECT_FALSE(reader.ok());
    EXPECT_EQ(reader.Fixed<uint32_t>(), 0u);
    EXPECT_EQ(reader.String(), "");
    EXPECT_FALSE(reader.Finished());
  }
}

}  // namespace
}  // namespace larder
