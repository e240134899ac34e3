// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_TEXT_TABLE_H_
#define LARDER_BENCH_SUPPORT_TEXT_TABLE_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace larder::bench {

// Lines up cells for a terminal: the first column to the left, the others to the right.
class TextTable {
 public:
  // The first row is the heading. Rows may differ in length.
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  // A row whose second cell is free text, up to the end of the line.
  void AddNote(std::string first, std::string note) {
    rows_.push_back({std::move(first), std::move(note)});
    notes_.push_back(rows_.size() - 1);
  }

  // The lines, each ended, the heading underlined.
  std::string Format() const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> notes_;  // indices into rows_, ascending
};

// "183 ns", "1.07 µs", "125 ms", "2.50 s": three significant digits.
std::string FormatNanos(double nanos);

// "1,234,567", rounded to a whole number.
std::string FormatCount(double count);

// "3.2 ×", "41 ×", "1,370 ×": how many times one is the other, to three digits.
std::string FormatRatio(double ratio);

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_TEXT_TABLE_H_
