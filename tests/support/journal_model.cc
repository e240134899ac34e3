// SPDX-License-Identifier: Apache-2.0
#include "tests/support/journal_model.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "src/text.h"
#include "tests/support/journal_fixture.h"

namespace larder::test {

using internal::Concat;
using internal::JournalRecovery;
using internal::JournalWrite;

std::string JournalModel::PayloadOf(size_t key, uint64_t version, size_t bytes) {
  return Concat(key, ":", version, ":", std::string(bytes, 'x'));
}

std::pair<size_t, uint64_t> JournalModel::KeyAndVersion(const std::string& payload) {
  const size_t colon = payload.find(':');
  return {std::stoul(payload), std::stoull(payload.substr(colon + 1))};
}

bool JournalModel::Open() {
  JournalRecovery found;
  const uint64_t failures = files_->failed_calls();
  internal::JournalSettings settings = SettingsOf(*files_, durability_);
  settings.segment_bytes = 512;  // many files, so that old ones are deleted and written again
  auto journal = internal::Journal::Open(settings, &found);
  if (!journal.ok()) {
    EXPECT_NE(files_->failed_calls(), failures) << journal.status();
    return false;
  }
  journal_ = *std::move(journal);
  const bool process = last_crash_ == CrashKind::kProcess;
  const Versions replayed =
      Check(found, journal_->writer(), process ? survives_process_ : survives_system_);
  survives_process_ = replayed;
  if (!process && durability_ != Durability::kJournal) survives_system_ = replayed;
  last_crash_ = CrashKind::kProcess;
  for (std::deque<Write>& writes : waiting_) writes.clear();
  for (const JournalWrite& write : found.writes) {
    const auto [key, version] = KeyAndVersion(write.payload);
    waiting_[key].push_back({write.sequence, version});
    versions_[write.sequence] = version;
    last_sequence_ = std::max(last_sequence_, write.sequence);
    failed_.erase(version);
  }
  return true;
}

void JournalModel::Close() {
  const bool closed = journal_->Close().ok();
  journal_.reset();
  if (closed && durability_ != Durability::kJournal) survives_system_ = survives_process_;
}

bool JournalModel::Put(size_t key, size_t bytes) {
  const uint64_t version = ++last_version_;
  failed_.insert(version);
  const auto sequence = journal_->Append(PayloadOf(key, version, bytes));
  if (!sequence.ok()) return false;
  EXPECT_GT(*sequence, last_sequence_) << "a sequence was used twice";
  last_sequence_ = *sequence;
  versions_[*sequence] = version;
  failed_.erase(version);
  gone_.merge(failed_);
  writer_ = journal_->writer();
  waiting_[key].push_back({*sequence, version});
  survives_process_[key] = version;
  if (durability_ == Durability::kJournalSync) survives_system_[key] = version;
  return true;
}

void JournalModel::Store(size_t key) {
  if (waiting_[key].empty()) return;
  const Write write = waiting_[key].front();
  waiting_[key].pop_front();
  stored_[key] = write.version;
  Acknowledge(write.sequence);
}

void JournalModel::Supersede(size_t key) {
  while (waiting_[key].size() > 1) {
    const Write write = waiting_[key].front();
    waiting_[key].pop_front();
    Acknowledge(write.sequence);
  }
}

bool JournalModel::Sync() {
  const Versions appended = survives_process_;
  if (!journal_->Sync().ok()) return false;
  // Without an interval, what a sync that failed dropped isn't written again.
  if (durability_ != Durability::kJournal) survives_system_ = appended;
  return true;
}

void JournalModel::Step(std::mt19937_64& random) {
  const size_t key = random() % kKeys;
  switch (random() % 10) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      Put(key, random() % 8 == 0 ? random() % 3000 : random() % 300);
      break;
    case 5:
    case 6:
    case 7:
      Store(key);
      break;
    case 8:
      Supersede(key);
      break;
    case 9:
      Sync();
      break;
  }
}

JournalModel::Versions JournalModel::Check(const JournalRecovery& found, uint64_t writer,
                                           const Versions& promised) const {
  EXPECT_EQ(writer, writer_.value_or(writer));
  Versions replayed = stored_;
  uint64_t before = 0;
  for (const JournalWrite& write : found.writes) {
    EXPECT_GT(write.sequence, before);
    before = write.sequence;
    const auto [key, version] = KeyAndVersion(write.payload);
    EXPECT_LT(key, kKeys);
    EXPECT_LE(version, last_version_) << "invented";
    EXPECT_FALSE(gone_.contains(version)) << "version " << version << " had failed";
    if (const auto known = versions_.find(write.sequence); known != versions_.end()) {
      EXPECT_EQ(version, known->second);
    } else {
      EXPECT_TRUE(failed_.contains(version)) << version << " has sequence " << write.sequence;
    }
    replayed[key] = version;
  }
  for (size_t key = 0; key < kKeys; ++key) {
    EXPECT_GE(replayed[key], promised[key]) << "key " << key << " goes back";
  }
  return replayed;
}

void JournalModel::CheckCrash(CrashKind kind, uint64_t seed) const {
  const std::unique_ptr<FaultyFileSystem> disk = files_->Crash(kind, seed);
  const bool process = kind == CrashKind::kProcess;
  uint64_t sequence = 0;
  std::vector<JournalWrite> writes;
  {
    OpenedJournal opened = OpenJournal(*disk, durability_);
    if (opened.journal == nullptr) return;
    Check(opened.found, opened.journal->writer(), process ? survives_process_ : survives_system_);
    sequence = Append(*opened.journal, "afterwards");
    EXPECT_GT(sequence, last_sequence_) << "a sequence was used twice";
    EXPECT_TRUE(opened.journal->Sync().ok());
    writes = std::move(opened.found.writes);
  }
  writes.push_back({sequence, "afterwards"});
  // What was found, and wasn't known to be on the disk, is.
  const CrashKind next =
      durability_ == Durability::kJournal ? CrashKind::kProcess : CrashKind::kTorn;
  EXPECT_EQ(OpenJournal(*disk->Crash(next, seed)).found.writes, writes);
}

void JournalModel::ContinueOn(FaultyFileSystem* files, CrashKind kind) {
  journal_.reset();
  files_ = files;
  last_crash_ = kind;
}

}  // namespace larder::test
