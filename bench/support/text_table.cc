// SPDX-License-Identifier: Apache-2.0

#include "bench/support/text_table.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace larder::bench {
namespace {

// Columns that UTF-8 text takes: its bytes but for those that continue a character.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string Blanks(size_t count) { return std::string(count, ' '); }

std::string ThreeDigits(double value) {
  if (value < 9.995) return absl::StrFormat("%.2f", value);
  if (value < 99.95) return absl::StrFormat("%.1f", value);
  return absl::StrFormat("%.0f", value);
}

}  // namespace

std::string TextTable::Format() const {
  constexpr std::string_view kGap = "  ";
  std::vector<size_t> widths;
  for (size_t r = 0; r < rows_.size(); ++r) {
    const bool note = std::binary_search(notes_.begin(), notes_.end(), r);
    const size_t cells = note ? 1 : rows_[r].size();
    widths.resize(std::max(widths.size(), cells));
    for (size_t c = 0; c < cells; ++c) widths[c] = std::max(widths[c], Width(rows_[r][c]));
  }
  size_t total = 0;
  for (const size_t width : widths) total += width + kGap.size();
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    const bool note = std::binary_search(notes_.begin(), notes_.end(), r);
    std::string line;
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      const std::string& cell = rows_[r][c];
      line += kGap;
      if (c > 0 && !note) line += Blanks(widths[c] - Width(cell));
      line += cell;
      if (c == 0) line += Blanks(widths[0] - Width(cell));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
    if (r == 0) {
      text += kGap;
      for (size_t i = kGap.size(); i < total; ++i) text += "\u2500";
      text += "\n";
    }
  }
  return text;
}

std::string FormatNanos(double nanos) {
  if (nanos < 999.5) return absl::StrFormat("%.0f ns", nanos);
  if (nanos < 999.5e3) return ThreeDigits(nanos / 1e3) + " \u00b5s";
  if (nanos < 999.5e6) return ThreeDigits(nanos / 1e6) + " ms";
  return ThreeDigits(nanos / 1e9) + " s";
}

std::string FormatCount(double count) {
  const std::string digits = absl::StrCat(static_cast<int64_t>(std::llround(count)));
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool after_digit = i > 0 && digits[i - 1] != '-';
    if (after_digit && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

std::string FormatRatio(double ratio) {
  if (ratio < 9.95) return absl::StrFormat("%.1f \u00d7", ratio);
  const double unit = std::pow(10, std::max(0.0, std::floor(std::log10(ratio)) - 2));
  return FormatCount(std::round(ratio / unit) * unit) + " \u00d7";
}

}  // namespace larder::bench
