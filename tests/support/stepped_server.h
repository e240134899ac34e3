// SPDX-License-Identifier: Apache-2.0
//
// SteppedServer: a server of one key that shares a tier, run step by step.

#ifndef LARDER_TESTS_SUPPORT_STEPPED_SERVER_H_
#define LARDER_TESTS_SUPPORT_STEPPED_SERVER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "larder/internal/mutex.h"
#include "larder/internal/remote_cache.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "tests/support/model_tier.h"
#include "tests/support/remote_server.h"

namespace larder::test {

inline constexpr char kSteppedKey[] = "key";
inline constexpr char kSteppedTag[] = "tag";

// The database. Rows have the number of their write as value, so that it shows which is older.
class VersionedStore {
 public:
  using Row = ModelStore::Row;

  static int VersionOf(const std::string& value) {
    int version = 0;
    return absl::SimpleAtoi(value, &version) ? version : -1;
  }
  // For traces.
  static std::string Text(const std::optional<Row>& row) {
    if (!row.has_value()) return "none";
    return absl::StrCat(row->value, row->tags.empty() ? "" : " tagged");
  }

  // What the key has from now on: a row of a new version, or none.
  std::optional<Row> Write(bool erases, bool has_tag) {
    std::optional<Row> row;
    ++version_;
    if (!erases) row = Row{absl::StrCat(version_)};
    if (row.has_value() && has_tag) row->tags = {kSteppedTag};
    rows_.Write(kSteppedKey, row);
    return row;
  }
  std::optional<Row> Find() const { return rows_.Find(kSteppedKey); }
  int version() const { return version_; }

 private:
  ModelStore rows_;
  int version_ = 0;
};

// A server's memory of the key.
class MemoryOfOneKey : public internal::RemoteCache::Memory {
 public:
  using Row = ModelStore::Row;

  std::optional<Row> Find() const {
    const internal::MutexLock lock(&mutex_);
    return row_;
  }
  uint64_t drops() const {
    const internal::MutexLock lock(&mutex_);
    return drops_;
  }
  // What a load brought that began at `drops`; whether it is kept.
  bool Keep(const Row& row, uint64_t drops) {
    const internal::MutexLock lock(&mutex_);
    if (drops_ == drops) row_ = row;
    return drops_ == drops;
  }
  // Loads that are under way aren't kept.
  void Overwrite(const std::optional<Row>& row) {
    const internal::MutexLock lock(&mutex_);
    ++drops_;
    row_ = row;
  }

  void Drop(std::string_view) override { Overwrite(std::nullopt); }
  void DropTag(std::string_view) override {
    const internal::MutexLock lock(&mutex_);
    ++drops_;
    if (row_.has_value() && !row_->tags.empty()) row_.reset();
  }
  void DropPrefix(std::string_view) override { Overwrite(std::nullopt); }
  void DropAll() override { Overwrite(std::nullopt); }
  void ExpireAll() override { DropAll(); }

 private:
  mutable internal::Mutex mutex_;
  std::optional<Row> row_ ABSL_GUARDED_BY(mutex_);
  uint64_t drops_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A server that does what a cache with a store and a shared tier does for a load and for a write,
// which may both be under way. A step is a call of RemoteCache, of the store or of memory, and
// returns what it did.
class SteppedServer {
 public:
  SteppedServer(ModelServer* redis, VersionedStore* store, RemoteOptions options)
      : tier_(redis), store_(*store) {
    options.tier = &tier_;
    cache_ = internal::RemoteCache::Create(options, "string", &memory_).value();
  }
  ~SteppedServer() { cache_->Stop(); }

  ModelTier& tier() { return tier_; }
  internal::RemoteCache& cache() { return *cache_; }
  MemoryOfOneKey& memory() { return memory_; }
  bool loads() const { return load_step_ != LoadStep::kRead; }
  bool writes() const { return write_step_ != WriteStep::kAnnounce; }
  // The last version that a write has stored, once that has returned.
  int written() const { return written_; }

  // It is told what may be told.
  void AwaitIdle() const {
    while (!tier_.Idle()) absl::SleepFor(absl::Microseconds(10));
  }
  // The tier is trusted, and nothing is still to be done about it.
  void AwaitSettled() const {
    while (cache_->health() != RemoteHealth::kUp || cache_->Stats().missed_waiting > 0 ||
           !tier_.Idle()) {
      absl::SleepFor(absl::Microseconds(10));
    }
  }

  // `fails`: the store can't be read, if this is where it is.
  std::string Load(bool fails) {
    switch (load_step_) {
      case LoadStep::kRead:
        return Read();
      case LoadStep::kAskStore:
        load_step_ = LoadStep::kFill;
        load_fails_ = fails;
        loaded_ = fails ? std::nullopt : store_.Find();
        return fails ? "can't load" : absl::StrCat("loads ", VersionedStore::Text(loaded_));
      case LoadStep::kFill:
        return Fill();
      case LoadStep::kKeep:
        // As long as the key is being written, memory takes nothing else.
        if (writes()) return "waits for its write";
        load_step_ = LoadStep::kRead;
        const bool is_kept = loaded_.has_value() && memory_.Keep(*loaded_, drops_);
        return is_kept ? absl::StrCat("keeps ", loaded_->value) : "keeps nothing";
    }
    return "";
  }

  // What a write is to be; looked at where it stores.
  struct Writing {
    bool erases = false;
    bool has_tag = false;
    bool is_around = false;  // nothing is put into memory and the tier
  };
  std::string Write(const Writing& writing) {
    switch (write_step_) {
      case WriteStep::kAnnounce:
        write_step_ = WriteStep::kStore;
        mark_ = cache_->ForeignMark(kSteppedKey);
        write_ = cache_->BeginWrites({kSteppedKey}, /*is_in_memory=*/false);
        return "announces";
      case WriteStep::kStore: {
        write_step_ = WriteStep::kCommit;
        const auto row = store_.Write(writing.erases, writing.has_tag);
        version_ = store_.version();
        kept_ = writing.is_around ? std::nullopt : row;
        return absl::StrCat("stores ", VersionedStore::Text(row),
                            kept_ != std::nullopt ? "" : " for the store");
      }
      case WriteStep::kCommit: {
        write_step_ = WriteStep::kApply;
        internal::RemoteCache::Committing committing = {.write = &write_[0]};
        if (kept_.has_value()) {
          committing.value = internal::RemoteValue{.payload = kept_->value, .tags = kept_->tags};
        }
        cache_->CommitWrites({&committing, 1});
        return absl::StrCat("commits ", version_);
      }
      case WriteStep::kApply:
        write_step_ = WriteStep::kReturn;
        memory_.Overwrite(kept_);
        return absl::StrCat("has ", version_, " in memory");
      case WriteStep::kReturn:
        write_step_ = WriteStep::kAnnounce;
        written_ = version_;
        if (cache_->ForeignMark(kSteppedKey) != mark_) memory_.Drop(kSteppedKey);
        return absl::StrCat("has written ", version_);
    }
    return "";
  }

 private:
  using Found = internal::RemoteRead::Found;
  using Row = VersionedStore::Row;
  enum class LoadStep { kRead, kAskStore, kFill, kKeep };
  enum class WriteStep { kAnnounce, kStore, kCommit, kApply, kReturn };

  std::string Read() {
    if (writes()) return "waits for its write";
    if (memory_.Find().has_value()) return "hits memory";
    drops_ = memory_.drops();
    loaded_.reset();
    read_ = cache_->Read(kSteppedKey, /*is_refresh=*/false);
    if (read_.found() == Found::kValue) loaded_ = Row{read_.payload(), read_.tags()};
    const bool is_found = loaded_.has_value() || read_.found() == Found::kNegative;
    load_step_ = is_found ? LoadStep::kKeep : LoadStep::kAskStore;
    return is_found ? absl::StrCat("finds ", VersionedStore::Text(loaded_)) : "finds nothing";
  }

  std::string Fill() {
    load_step_ = LoadStep::kKeep;
    if (load_fails_) {
      cache_->Abandon(read_);
      return "abandons its load";
    }
    if (loaded_.has_value()) {
      cache_->Fill(read_, {.payload = loaded_->value, .tags = loaded_->tags});
    } else {
      cache_->FillNegative(read_);
    }
    return absl::StrCat("fills ", VersionedStore::Text(loaded_));
  }

  ModelTier tier_;
  VersionedStore& store_;
  MemoryOfOneKey memory_;
  std::unique_ptr<internal::RemoteCache> cache_;

  LoadStep load_step_ = LoadStep::kRead;
  internal::RemoteRead read_;
  std::optional<Row> loaded_;
  bool load_fails_ = false;
  uint64_t drops_ = 0;  // of memory, when the load began

  WriteStep write_step_ = WriteStep::kAnnounce;
  std::vector<internal::RemoteWrite> write_;
  std::optional<Row> kept_;
  int version_ = 0;
  uint64_t mark_ = 0;
  int written_ = 0;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_STEPPED_SERVER_H_
