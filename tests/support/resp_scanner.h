// SPDX-License-Identifier: Apache-2.0
//
// RespScanner: where replies and values begin and end in what a Redis server sends.

#ifndef LARDER_TESTS_SUPPORT_RESP_SCANNER_H_
#define LARDER_TESTS_SUPPORT_RESP_SCANNER_H_

#include <cstdint>

namespace larder::test {

// Reads RESP2 a byte at a time. What it says is of the last byte.
class RespScanner {
 public:
  void Add(char byte) {
    begins_ = false;
    if (left_ > 0) {  // in a value, or the line's end after it
      --left_;
      return;
    }
    length_ = 0;
    if (in_line_ == 0) {
      begins_ = elements_ == 0;
      type_ = byte;
      number_ = 0;
      is_negative_ = false;
    } else if (byte == '-') {
      is_negative_ = true;
    } else if ((type_ == '$' || type_ == '*') && byte >= '0' && byte <= '9') {
      number_ = number_ * 10 + (byte - '0');
    }
    ++in_line_;
    if (byte == '\n') EndLine();
  }

  // Whether it is the first byte of a reply, or of what isn't part of a reply's array.
  bool begins_reply() const { return begins_; }

  // Whether it is the one in the middle of a value of at least `least` bytes.
  bool is_midst_of_value(int64_t least) const {
    return length_ >= least && left_ == 2 + length_ / 2;
  }

 private:
  void EndLine() {
    in_line_ = 0;
    if (elements_ > 0) --elements_;
    if (is_negative_) return;
    if (type_ == '$') {
      length_ = number_;
      left_ = number_ + 2;
    } else if (type_ == '*') {
      elements_ += number_;
    }
  }

  char type_ = 0;
  bool begins_ = false;
  bool is_negative_ = false;
  int64_t in_line_ = 0;   // bytes of the line so far
  int64_t number_ = 0;    // after the type, where it is a length
  int64_t elements_ = 0;  // of arrays, still to come
  int64_t length_ = 0;    // of the value
  int64_t left_ = 0;      // of the value and its line's end, still to come
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_RESP_SCANNER_H_
