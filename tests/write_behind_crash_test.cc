// SPDX-License-Identifier: Apache-2.0
// Kills processes that do write-behind with a journal, at random moments and at named ones, and
// looks at what is in the database (SQLite) once another process has opened the same journal:
// every acknowledged write, none that nobody made, and of each key in order.

#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "docs/examples/sqlite_store.h"
#include "gtest/gtest.h"
#include "larder/tiered_cache.h"
#include "tests/support/child.h"
#include "tests/support/killing.h"
#include "tests/support/rounds.h"
#include "tests/support/temporary_directory.h"

namespace larder::test {
namespace {

using Tiered = TieredCache<std::string, std::string>;
using examples::SqliteStore;

constexpr int kThreads = 3;
constexpr int kKeysPerThread = 4;
constexpr int kKeys = kThreads * kKeysPerThread;
constexpr int kWritesPerThread = 300;

// What a writer tells its parent, before a write and after it was acknowledged.
struct Message {
  int32_t key;
  int32_t number;  // names the write: counted over all writes of a chain
  int32_t erases;
  int32_t acknowledged;
};

// Writes that were begun, of one key, in order.
struct Attempt {
  int number;
  bool erases;
  bool acknowledged = false;
};

struct Chain {
  std::string folder;
  Durability durability = Durability::kJournal;
  Coalescing coalescing = Coalescing::kLatest;
  int next_number = 1;
  std::vector<Attempt> attempts[kKeys] = {};
};

std::string KeyName(int key) { return absl::StrCat("key", key); }

// Beside its rows the database keeps what was written to them: what is replayed, and was there
// before, isn't written again, since SqliteStore looks at its WriteId.
std::unique_ptr<SqliteStore> OpenStore(const Chain& chain) {
  examples::SqliteStoreOptions options;
  options.setup =
      "PRAGMA synchronous = OFF;"
      "CREATE TABLE IF NOT EXISTS log (key BLOB, value BLOB);"
      "CREATE TRIGGER IF NOT EXISTS on_insert AFTER INSERT ON entries"
      " BEGIN INSERT INTO log VALUES (NEW.key, NEW.value); END;"
      "CREATE TRIGGER IF NOT EXISTS on_update AFTER UPDATE ON entries"
      " BEGIN INSERT INTO log VALUES (NEW.key, NEW.value); END";
  auto store = SqliteStore::Open(chain.folder + "/store.db", options);
  CHILD_CHECK(store.ok());
  return *std::move(store);
}

Tiered::Options OptionsOf(const Chain& chain, Store<std::string, std::string>* store,
                          FileSystem* files) {
  Tiered::Options options;
  options.cache.capacity = 4;  // of 12 keys: most reads find an entry evicted
  options.cache.stripes = 1;
  options.store = store;
  options.write_policy = WritePolicy::kBehind;
  options.write_behind.coalescing = chain.coalescing;
  options.write_behind.durability = chain.durability;
  options.write_behind.journal_directory = chain.folder + "/journal";
  options.write_behind.sync_interval = absl::Milliseconds(2);
  options.write_behind.segment_bytes = 4096;
  options.write_behind.batch_size = 8;
  options.write_behind.batch_delay = absl::Microseconds(200);
  options.write_behind.file_system = files;
  return options;
}

// --- In the child.

void Tell(int pipe, const Message& message) {
  CHILD_CHECK(write(pipe, &message, sizeof(message)) == sizeof(message));
}

void WriteKeys(Tiered& cache, int thread, const Chain& chain, uint64_t seed, int pipe) {
  std::mt19937_64 random(seed * kThreads + thread);
  std::optional<std::string> last[kKeys];
  for (int i = 0; i < kWritesPerThread; ++i) {
    const int key = thread * kKeysPerThread + static_cast<int>(random() % kKeysPerThread);
    Message message{.key = key,
                    .number = chain.next_number + i * kThreads + thread,
                    .erases = random() % 8 == 0 ? 1 : 0,
                    .acknowledged = 0};
    Tell(pipe, message);
    const std::string value = absl::StrCat(message.number);
    const absl::Status status =
        message.erases != 0 ? cache.Erase(KeyName(key)) : cache.Put(KeyName(key), value);
    CHILD_CHECK(status.ok());
    message.acknowledged = 1;
    Tell(pipe, message);
    // Nobody else writes this key.
    const absl::StatusOr<std::string> read = cache.Get(KeyName(key));
    CHILD_CHECK(message.erases != 0 ? absl::IsNotFound(read.status())
                                    : read.ok() && *read == value);
  }
}

[[noreturn]] void Writer(const Chain& chain, KillAt at, int passes, uint64_t seed, int pipe) {
  KillPoint point(at, passes);
  KillingFileSystem files(point);
  const std::unique_ptr<SqliteStore> database = OpenStore(chain);
  KillingStore store(*database, point);
  {
    auto cache = Tiered::Create(OptionsOf(chain, &store, &files));
    CHILD_CHECK(cache.ok());
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] { WriteKeys(**cache, t, chain, seed, pipe); });
    }
    for (std::thread& thread : threads) thread.join();
    CHILD_CHECK((*cache)->Close(absl::InfiniteDuration()).ok());
  }
  _exit(0);
}

void Recover(const Chain& chain) {
  const std::unique_ptr<SqliteStore> store = OpenStore(chain);
  auto cache = Tiered::Create(OptionsOf(chain, store.get(), nullptr));
  if (!cache.ok()) std::fprintf(stderr, "%s\n", cache.status().ToString().c_str());
  CHILD_CHECK(cache.ok());
  CHILD_CHECK((*cache)->Flush(absl::InfiniteDuration()).ok());
  CHILD_CHECK((*cache)->Close(absl::InfiniteDuration()).ok());
}

// --- In the parent.

// Runs a writer until it ends by itself or, after `messages` of its messages, by us. Returns
// whether it was killed.
bool RunWriter(Chain& chain, KillAt at, int passes, int messages, uint64_t seed) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    Writer(chain, at, passes, seed, ends[1]);
  }
  close(ends[1]);
  Message message;
  int highest = chain.next_number;
  for (int seen = 0; read(ends[0], &message, sizeof(message)) == sizeof(message); ++seen) {
    std::vector<Attempt>& attempts = chain.attempts[message.key];
    if (message.acknowledged == 0) {
      attempts.push_back({.number = message.number, .erases = message.erases != 0});
    } else {
      attempts.back().acknowledged = true;
    }
    highest = std::max(highest, message.number);
    if (seen == messages) kill(child, SIGKILL);
  }
  close(ends[0]);
  chain.next_number = highest + kThreads;
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  EXPECT_TRUE(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) << "status " << status;
  return killed;
}

// All values that the database has seen, by key, in order; nullopt for an erasure.
std::vector<std::vector<std::optional<std::string>>> ReadLog(const Chain& chain) {
  std::vector<std::vector<std::optional<std::string>>> log(kKeys);
  sqlite3* database = nullptr;
  EXPECT_EQ(sqlite3_open((chain.folder + "/store.db").c_str(), &database), SQLITE_OK);
  for (int key = 0; key < kKeys; ++key) {
    const std::string query = absl::StrCat("SELECT value FROM log WHERE CAST(key AS TEXT) = '",
                                           KeyName(key), "' ORDER BY rowid");
    sqlite3_stmt* statement = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(database, query.c_str(), -1, &statement, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database);
    while (sqlite3_step(statement) == SQLITE_ROW) {
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
      log[key].push_back(text == nullptr ? std::nullopt : std::optional<std::string>(text));
    }
    sqlite3_finalize(statement);
  }
  sqlite3_close(database);
  return log;
}

bool Matches(const std::optional<std::string>& written, const Attempt& attempt) {
  return attempt.erases ? written == std::nullopt : written == absl::StrCat(attempt.number);
}

// Whether what the database saw of a key can come from these attempts: it is some of them, in
// order; `every` acknowledged one of them, or else none after the last was acknowledged. Erasures
// look all alike, so all ways to match them are followed: `ends` has the places where the last one
// may be.
bool Explains(const std::vector<Attempt>& attempts,
              const std::vector<std::optional<std::string>>& log, bool every) {
  const size_t count = attempts.size();
  // may_end[i]: the writes so far may be such that attempt i - 1 was the last of them.
  std::vector<bool> may_end(count + 1, false);
  may_end[0] = true;
  for (const std::optional<std::string>& written : log) {
    std::vector<bool> next(count + 1, false);
    bool reachable = false;
    for (size_t i = 0; i < count; ++i) {
      reachable = reachable || may_end[i];
      if (reachable && Matches(written, attempts[i])) next[i + 1] = true;
      // To pass over an acknowledged one is to lose it.
      if (every && attempts[i].acknowledged) reachable = false;
    }
    may_end = next;
  }
  for (size_t i = count + 1; i-- > 0;) {
    if (may_end[i]) return true;
    if (i > 0 && attempts[i - 1].acknowledged) return false;
  }
  return false;
}

std::string Shown(const std::vector<Attempt>& attempts,
                  const std::vector<std::optional<std::string>>& log) {
  std::string text = "attempts:";
  for (const Attempt& attempt : attempts) {
    absl::StrAppend(&text, " ", attempt.number, attempt.erases ? "e" : "",
                    attempt.acknowledged ? "" : "?");
  }
  absl::StrAppend(&text, "\nwritten:");
  for (const auto& written : log) absl::StrAppend(&text, " ", written.value_or("e"));
  return text;
}

void Check(const Chain& chain, const std::string& what) {
  RunInChild([&] { Recover(chain); });
  const auto log = ReadLog(chain);
  for (int key = 0; key < kKeys; ++key) {
    ASSERT_TRUE(Explains(chain.attempts[key], log[key], chain.coalescing == Coalescing::kNone))
        << what << ", key " << key << "\n"
        << Shown(chain.attempts[key], log[key]);
  }
}

// Several processes one after the other, with one journal and one database.
int RunChain(uint64_t seed, int most_kills) {
  constexpr Durability kDurabilities[] = {Durability::kJournal, Durability::kJournalSync,
                                          Durability::kJournalSyncInterval};
  std::mt19937_64 random(seed);
  const TemporaryDirectory folder;
  Chain chain{.folder = folder.path(),
              .durability = kDurabilities[seed % 3],
              .coalescing = random() % 2 == 0 ? Coalescing::kLatest : Coalescing::kNone};
  int kills = 0;
  for (int process = 0; process < 8 && kills < most_kills; ++process) {
    const auto at = static_cast<KillAt>(random() % kKillPlaces);
    const int passes = 1 + static_cast<int>(random() % 60);
    const int messages = 1 + static_cast<int>(random() % (2 * kThreads * kWritesPerThread));
    if (RunWriter(chain, at, passes, messages, random())) ++kills;
    const std::string what =
        absl::StrCat("seed ", seed, ", process ", process, ", killed at place ",
                     static_cast<int>(at), ", pass ", passes);
    // Sometimes the next writer finds what two have left.
    if (random() % 4 != 0) Check(chain, what);
    if (::testing::Test::HasFailure()) return kills;
  }
  Check(chain, absl::StrCat("seed ", seed, ", at the end"));
  return kills;
}

TEST(WriteBehindCrash, NothingAcknowledgedIsLostWhereverTheProcessIsKilled) {
  const int wanted = Rounds(50);
  int kills = 0;
  for (int chain = 0; kills < wanted && !::testing::Test::HasFailure(); ++chain) {
    kills += RunChain(SeedOfRound(chain), wanted - kills);
  }
  std::printf("%d processes killed\n", kills);
}

TEST(WriteBehindCrash, TheCheckFindsWhatIsLostInventedOrOutOfOrder) {
  const std::vector<Attempt> attempts = {{.number = 1, .erases = false, .acknowledged = true},
                                         {.number = 2, .erases = true, .acknowledged = true},
                                         {.number = 3, .erases = false, .acknowledged = true},
                                         {.number = 4, .erases = true}};
  EXPECT_TRUE(Explains(attempts, {"1", std::nullopt, "3"}, /*every=*/true));
  EXPECT_TRUE(Explains(attempts, {"1", std::nullopt, "3", std::nullopt}, /*every=*/true));
  EXPECT_FALSE(Explains(attempts, {"1", "3"}, /*every=*/true));
  EXPECT_FALSE(Explains(attempts, {"1", std::nullopt}, /*every=*/true));
  EXPECT_TRUE(Explains(attempts, {"3"}, /*every=*/false));
  EXPECT_TRUE(Explains(attempts, {"1", std::nullopt}, /*every=*/false));  // the last erasure
  EXPECT_FALSE(Explains(attempts, {"1"}, /*every=*/false));
  EXPECT_FALSE(Explains(attempts, {}, /*every=*/false));
  EXPECT_FALSE(Explains(attempts, {"3", "1"}, /*every=*/false));
  EXPECT_FALSE(Explains(attempts, {"7", "3"}, /*every=*/false));
  EXPECT_FALSE(Explains(attempts, {"3", "3"}, /*every=*/false));
}

}  // namespace
}  // namespace larder::test
