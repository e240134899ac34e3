// SPDX-License-Identifier: Apache-2.0
//
// RecordReader. An input's first byte: 0 for a script, which says what is to be found; else the
// rest is what comes after the header.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "larder/internal/bytes.h"
#include "larder/internal/record_io.h"
#include "src/crc32c.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/record_script.h"

namespace larder::fuzz {
namespace {

using namespace larder::internal;  // NOLINT

constexpr auto kKind = RecordFileKind::kJournal;
constexpr uint64_t kSalt = 0x0123456789abcdef;

template <class Number>
std::string Bytes(Number number) {
  std::string bytes(sizeof(number), '\0');
  StoreFixed(number, bytes.data());
  return bytes;
}

// A record is what the format's document says it is, at the place where it was found.
void CheckRecord(std::string_view file, std::string_view record) {
  const auto salt = LoadFixed<uint64_t>(file.data() + 12);
  FUZZ_CHECK(record.data() >= file.data() + kRecordFileHeaderBytes + kRecordFrameBytes);
  FUZZ_CHECK(record.data() + record.size() <= file.data() + file.size());
  const char* frame = record.data() - kRecordFrameBytes;
  const auto offset = static_cast<uint64_t>(frame - file.data());
  const auto length = static_cast<uint32_t>(record.size());
  FUZZ_CHECK(LoadFixed<uint32_t>(frame) == length);
  FUZZ_CHECK(LoadFixed<uint32_t>(frame + 4) ==
             ExtendCrc32c(0, Bytes(static_cast<uint32_t>(salt)) + Bytes(offset) + Bytes(length)));
  FUZZ_CHECK(LoadFixed<uint32_t>(frame + 8) ==
             ExtendCrc32c(0, Bytes(static_cast<uint32_t>(salt >> 32)) + Bytes(offset) +
                                 std::string(record)));
}

// All records of any file, each checked; that each byte is counted once.
std::vector<std::string> ReadAll(std::string_view file) {
  std::vector<std::string> records;
  absl::StatusOr<RecordReader> reader = RecordReader::Open(kKind, 0xff, file);
  if (!reader.ok()) return records;
  const char* end = file.data() + kRecordFileHeaderBytes;
  uint64_t intact = kRecordFileHeaderBytes;
  while (const auto record = reader->Next()) {
    CheckRecord(file, *record);
    FUZZ_CHECK(record->data() >= end + kRecordFrameBytes);
    end = record->data() + record->size();
    intact += kRecordFrameBytes + record->size();
    records.emplace_back(*record);
  }
  FUZZ_CHECK(!reader->Next().has_value());
  FUZZ_CHECK(intact + reader->damaged_bytes() + reader->torn_bytes() == file.size());
  FUZZ_CHECK(reader->torn_bytes() == static_cast<uint64_t>(file.data() + file.size() - end));
  return records;
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string script(1, '\0');
  std::vector<std::string> seeds = {
      "",
      script + ScriptOfRecords({}),
      script + ScriptOfRecords({"one", "", "three"}),
      script + ScriptOfRecords({"one", std::string(300, 'x')}) + Step(kCutShort, "") + "rest",
  };
  for (const ScriptStep damage : {kWrongRecordCrc, kWrongLengthCrc, kLooseBytes})
    seeds.push_back(script + ScriptOfRecords({"before"}) + Step(damage, "damaged, or loose") +
                    Step(kIntact, "after"));
  RecordWriter writer(kKind, 1, kSalt);
  std::string raw(1, '\1');
  for (const std::string_view record : {"one", "", "three"}) writer.Add(record, &raw);
  seeds.push_back(raw);
  return seeds;
}

}  // namespace larder::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace larder::fuzz;  // NOLINT
  std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.empty()) return 0;
  const bool scripted = input[0] == 0;
  input.remove_prefix(1);
  ReadAll(input);
  if (scripted) {
    const ScriptedFile file = FileOfScript(kKind, input);
    FUZZ_CHECK(ReadAll(file.bytes) == file.intact);
  } else {
    ReadAll(larder::internal::RecordWriter(kKind, 1, kSalt).Header() + std::string(input));
  }
  return 0;
}
