// SPDX-License-Identifier: Apache-2.0
//
// Record files that a fuzzer can change: without checksums, which it would hardly ever get right.

#ifndef LARDER_TESTS_FUZZ_RECORD_SCRIPT_H_
#define LARDER_TESTS_FUZZ_RECORD_SCRIPT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "larder/internal/record_io.h"

namespace larder::fuzz {

// A script is a byte, the file's version, then steps: a byte that says which (of its lower three
// bits), a length of two bytes, lower one first, and as many bytes, or what is left of the script.
//   0 to 3  an intact record of these bytes
//   4       the same, but its checksum is wrong
//   5       the same, but its length's checksum is wrong
//   6       these bytes, and zeros up to a frame's size, without a frame
//   7       the file is cut short by the length (but for its header), and the script ends
enum ScriptStep : uint8_t {
  kIntact = 0,
  kWrongRecordCrc = 4,
  kWrongLengthCrc = 5,
  kLooseBytes = 6,
  kCutShort = 7,
  kScriptSteps = 8,
};

struct ScriptedFile {
  std::string bytes;
  std::vector<std::string> intact;  // the records that are to be found
  std::vector<bool> after_damage;   // of each of them: whether something else is right before it
  bool torn = false;                // whether something else is after all of them
};

ScriptedFile FileOfScript(internal::RecordFileKind kind, std::string_view script);

// The script of an intact file of this kind, with records of less than 64 KiB. Ends the process
// for others.
std::string ScriptOfFile(internal::RecordFileKind kind, std::string_view file);

// The script of a file of version 1 with these records.
std::string ScriptOfRecords(const std::vector<std::string>& records);

// One step.
std::string Step(uint8_t what, std::string_view bytes);

}  // namespace larder::fuzz

#endif  // LARDER_TESTS_FUZZ_RECORD_SCRIPT_H_
