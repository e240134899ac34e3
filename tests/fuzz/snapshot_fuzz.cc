// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: SnapshotReader, and Cache::LoadSnapshot. An input is the script of a snapshot.

#include "larder/snapshot.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "larder/internal/snapshot_format.h"
#include "larder/manual_clock.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/record_script.h"
#include "tests/support/faulty_file_system.h"

namespace larder::fuzz {
namespace {

using internal::SnapshotEntry;
using internal::SnapshotHead;
using internal::SnapshotReader;
using internal::SnapshotTerms;
using internal::SnapshotWriter;
using test::FaultyFileSystem;

// The policy whose standings say most.
using FuzzedCache = Cache<std::string, std::string, S3Fifo>;

constexpr char kPath[] = "snapshot";
constexpr uint64_t kCapacity = 6;

bool Same(const std::optional<SnapshotTerms>& a, const std::optional<SnapshotTerms>& b) {
  if (!a.has_value() || !b.has_value()) return a.has_value() == b.has_value();
  return a->age == b->age && a->kept_for == b->kept_for && a->refresh_in == b->refresh_in &&
         a->load_micros == b->load_micros && a->tags == b->tags;
}

bool Same(const SnapshotEntry& a, const SnapshotEntry& b) {
  const bool idle_ends = a.idle_ttl != internal::kNever;
  return a.key == b.key && a.value == b.value && a.rank == b.rank && a.standing == b.standing &&
         a.ttl_left == b.ttl_left && a.idle_ttl == b.idle_ttl &&
         (!idle_ends || a.idle_left == b.idle_left) && a.weight == b.weight &&
         Same(a.terms, b.terms);
}

// All entries; nullopt for a snapshot that is damaged.
std::optional<std::vector<SnapshotEntry>> ReadAll(SnapshotReader reader) {
  std::vector<SnapshotEntry> entries;
  for (SnapshotEntry entry; reader.Next(&entry);) {
    SnapshotEntry again;
    reader.ReadAt(reader.position(), &again);
    FUZZ_CHECK(Same(entry, again));
    entries.push_back(entry);
  }
  if (!reader.status().ok()) return std::nullopt;
  FUZZ_CHECK(entries.size() == reader.entries());
  return entries;
}

std::string Written(const SnapshotHead& head, const std::vector<SnapshotEntry>& entries) {
  SnapshotWriter writer(head, 7);
  for (const SnapshotEntry& entry : entries) FUZZ_CHECK(writer.Add(entry).ok());
  writer.Finish();
  return std::move(writer.bytes());
}

// What was read can be written and read again.
void CheckReader(const ScriptedFile& file, std::set<std::pair<std::string, std::string>>* said) {
  const absl::StatusOr<SnapshotReader> reader = SnapshotReader::Open(file.bytes);
  if (!reader.ok()) {
    FUZZ_CHECK(absl::IsDataLoss(reader.status()) || absl::IsUnimplemented(reader.status()));
    return;
  }
  FUZZ_CHECK(!file.torn);
  for (const bool damage : file.after_damage) FUZZ_CHECK(!damage);
  const auto entries = ReadAll(*reader);
  if (!entries.has_value()) return;
  for (const SnapshotEntry& entry : *entries) said->emplace(entry.key, entry.value);
  const std::string written = Written(reader->head(), *entries);
  const absl::StatusOr<SnapshotReader> second = SnapshotReader::Open(written);
  FUZZ_CHECK(second.ok());
  FUZZ_CHECK(second->head().saved_at == reader->head().saved_at);
  FUZZ_CHECK(second->head().key_schema == reader->head().key_schema);
  FUZZ_CHECK(second->head().value_schema == reader->head().value_schema);
  FUZZ_CHECK(second->head().policy == reader->head().policy);
  const auto again = ReadAll(*second);
  FUZZ_CHECK(again.has_value() && again->size() == entries->size());
  for (size_t i = 0; i < entries->size(); ++i) FUZZ_CHECK(Same((*entries)[i], (*again)[i]));
}

absl::Time Now() { return absl::FromUnixSeconds(1'700'000'000); }

SnapshotOptions OptionsFor(FaultyFileSystem& files) {
  SnapshotOptions options;
  options.file_system = &files;
  options.now = Now;
  return options;
}

std::unique_ptr<FuzzedCache> NewCache(const Clock& clock) {
  FuzzedCache::Options options;
  options.capacity = kCapacity;
  options.stripes = 1;
  options.clock = &clock;
  auto cache = FuzzedCache::Create(std::move(options));
  FUZZ_CHECK(cache.ok());
  return *std::move(cache);
}

// A cache that was loaded holds what the snapshot says and nothing else, and can be used; one that
// wasn't is as it was.
void CheckLoad(const ScriptedFile& file,
               const std::set<std::pair<std::string, std::string>>& said) {
  FaultyFileSystem files;
  files.SetFile(kPath, file.bytes);
  ManualClock clock;
  const std::unique_ptr<FuzzedCache> cache = NewCache(clock);
  FUZZ_CHECK(cache->Put("mine", "here").ok());
  const absl::StatusOr<SnapshotInfo> loaded = cache->LoadSnapshot(kPath, OptionsFor(files));
  if (!loaded.ok()) {
    const absl::Status& status = loaded.status();
    FUZZ_CHECK(absl::IsDataLoss(status) || absl::IsUnimplemented(status) ||
               absl::IsFailedPrecondition(status));
    FUZZ_CHECK(cache->size() == 1);
  } else {
    FUZZ_CHECK(cache->size() <= 1 + loaded->entries);
  }
  FUZZ_CHECK(cache->weight() <= kCapacity);
  FUZZ_CHECK(cache->CheckInvariants().ok());
  cache->ForEach([&](const std::string& key, const std::string& value) {
    FUZZ_CHECK((key == "mine" && value == "here") || said.contains({key, value}));
  });
  FUZZ_CHECK(cache->SaveSnapshot("again", OptionsFor(files)).ok());
  const std::unique_ptr<FuzzedCache> other = NewCache(clock);
  FUZZ_CHECK(other->LoadSnapshot("again", OptionsFor(files)).ok());
  FUZZ_CHECK(other->size() <= cache->size());
  // All deadlines pass, and entries are evicted.
  for (const absl::Duration step : {absl::Nanoseconds(1), absl::Hours(1), absl::Hours(24 * 365)}) {
    clock.Advance(step);
    for (int i = 0; i < 4; ++i)
      FUZZ_CHECK(cache->Put(absl::FormatDuration(step) + std::to_string(i), "new").ok());
    cache->RunMaintenance(100);
    FUZZ_CHECK(cache->weight() <= kCapacity);
  }
  FUZZ_CHECK(cache->CheckInvariants().ok());
}

}  // namespace

std::vector<std::string> Seeds() {
  SnapshotEntry plain, timed, tagged;
  plain.key = "key";
  plain.value = "value";
  plain.rank = 1;
  timed = plain;
  timed.key = "timed";
  timed.rank = 3;
  timed.standing = 5;
  timed.ttl_left = 1'000'000'000;
  timed.idle_ttl = 2'000'000'000;
  timed.idle_left = 1'500'000'000;
  timed.weight = 2;
  tagged = plain;
  tagged.key = "tagged";
  tagged.rank = 2;
  SnapshotTerms& terms = tagged.terms.emplace();
  terms.age = 5;
  terms.kept_for = 1'000'000'000;
  terms.refresh_in = 10;
  terms.load_micros = 100;
  terms.tags = {"red", "blue"};
  SnapshotEntry refused = plain;
  refused.weight = kCapacity + 1;

  SnapshotHead head;
  head.saved_at = absl::ToUnixNanos(Now() - absl::Milliseconds(500));
  head.key_schema = std::string(Codec<std::string>::Schema());
  head.value_schema = head.key_schema;
  head.policy = "S3Fifo";
  SnapshotHead other = head;
  other.value_schema = "u64";
  SnapshotHead lru = head;
  lru.policy = "Lru";
  lru.saved_at = absl::ToUnixNanos(Now() + absl::Hours(1));

  const std::vector<std::string> files = {
      Written(head, {}),
      Written(head, {plain, timed, tagged}),
      Written(head, {timed, plain, plain}),
      Written(head, {refused, plain}),
      Written(lru, {tagged, timed}),
      Written(other, {plain}),
  };
  std::vector<std::string> seeds;
  for (const std::string& file : files)
    seeds.push_back(ScriptOfFile(internal::RecordFileKind::kSnapshot, file));
  const std::string whole = seeds[1];
  seeds.push_back(whole + Step(kCutShort, std::string(3, 'x')));
  seeds.push_back(whole + Step(kWrongRecordCrc, "damage"));
  seeds.push_back('\2' + whole.substr(1));
  const std::string end = Step(kIntact, "\3" + std::string(8, '\xff'));  // more than there can be
  seeds.push_back(whole.substr(0, whole.size() - end.size()) + end);
  return seeds;
}

}  // namespace larder::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace larder::fuzz;  // NOLINT
  const ScriptedFile file = FileOfScript(larder::internal::RecordFileKind::kSnapshot,
                                         {reinterpret_cast<const char*>(data), size});
  std::set<std::pair<std::string, std::string>> said;
  CheckReader(file, &said);
  CheckLoad(file, said);
  return 0;
}
