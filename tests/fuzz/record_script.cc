// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/record_script.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "tests/fuzz/fuzz_target.h"

namespace larder::fuzz {
namespace {

using internal::kRecordFileHeaderBytes;
using internal::kRecordFrameBytes;
using internal::RecordFileKind;
using internal::RecordReader;
using internal::RecordWriter;

constexpr uint64_t kSalt = 0x5eed5a175eed5a17;
constexpr size_t kStepBytes = 3;

// In a frame.
constexpr size_t kLengthCrcAt = 4;
constexpr size_t kRecordCrcAt = 8;

void Damage(size_t at, std::string* bytes) { (*bytes)[at] = static_cast<char>(~(*bytes)[at]); }

}  // namespace

ScriptedFile FileOfScript(RecordFileKind kind, std::string_view script) {
  ScriptedFile file;
  const uint32_t version = script.empty() ? 1 : static_cast<uint8_t>(script[0]);
  RecordWriter writer(kind, version, kSalt);
  file.bytes = writer.Header();
  std::vector<size_t> ends;  // of the intact records
  bool damage = false;       // since the last one
  script.remove_prefix(std::min<size_t>(script.size(), 1));
  while (script.size() >= kStepBytes) {
    const auto what = static_cast<uint8_t>(static_cast<uint8_t>(script[0]) % kScriptSteps);
    const size_t length = static_cast<uint8_t>(script[1]) | static_cast<uint8_t>(script[2]) << 8;
    const std::string_view bytes = script.substr(kStepBytes, length);
    script.remove_prefix(kStepBytes + bytes.size());
    const size_t frame = file.bytes.size();
    if (what == kCutShort) {
      file.bytes.resize(std::max(kRecordFileHeaderBytes, frame - std::min(frame, length)));
      break;
    }
    if (what == kLooseBytes) {
      file.bytes.append(bytes);
      file.bytes.resize(frame + std::max(bytes.size(), kRecordFrameBytes));
      // The writer has to know where it is.
      std::string ignored;
      writer.Add(std::string(file.bytes.size() - frame - kRecordFrameBytes, '\0'), &ignored);
      damage = true;
      continue;
    }
    writer.Add(bytes, &file.bytes);
    if (what == kWrongRecordCrc || what == kWrongLengthCrc) {
      Damage(frame + (what == kWrongRecordCrc ? kRecordCrcAt : kLengthCrcAt), &file.bytes);
      damage = true;
    } else {
      file.intact.emplace_back(bytes);
      file.after_damage.push_back(std::exchange(damage, false));
      ends.push_back(file.bytes.size());
    }
  }
  while (!ends.empty() && ends.back() > file.bytes.size()) {
    ends.pop_back();
    file.intact.pop_back();
    file.after_damage.pop_back();
  }
  file.torn = file.bytes.size() > (ends.empty() ? kRecordFileHeaderBytes : ends.back());
  return file;
}

std::string Step(uint8_t what, std::string_view bytes) {
  FUZZ_CHECK(bytes.size() < size_t{1} << 16);
  std::string step = {static_cast<char>(what), static_cast<char>(bytes.size() & 0xff),
                      static_cast<char>(bytes.size() >> 8)};
  return step.append(bytes);
}

std::string ScriptOfRecords(const std::vector<std::string>& records) {
  std::string script(1, '\1');
  for (const std::string& record : records) script += Step(kIntact, record);
  return script;
}

std::string ScriptOfFile(RecordFileKind kind, std::string_view file) {
  absl::StatusOr<RecordReader> reader = RecordReader::Open(kind, 0xff, file);
  FUZZ_CHECK(reader.ok());
  std::string script(1, static_cast<char>(reader->version()));
  while (const auto record = reader->Next()) script += Step(kIntact, *record);
  FUZZ_CHECK(reader->damaged_bytes() == 0 && reader->torn_bytes() == 0);
  return script;
}

}  // namespace larder::fuzz
