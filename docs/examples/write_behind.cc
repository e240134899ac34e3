// SPDX-License-Identifier: Apache-2.0
//
// A service that acknowledges writes before its database has them, and loses none: write-behind
// with a journal, over a real SQLite file. The database refuses a write, which becomes a dead
// letter; it goes down while the service writes on; the service restarts, with a warm cache and
// with what the database has missed.

#include <stdlib.h>

#include <atomic>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "docs/examples/sqlite_store.h"
#include "larder/codec.h"
#include "larder/dead_letter.h"
#include "larder/store.h"
#include "larder/tiered_cache.h"

namespace {

struct Account {
  int64_t cents = 0;
  std::string owner;
};

}  // namespace

// How an account becomes bytes: for the journal, the snapshot and dead letters, and here for the
// database, too.
template <>
struct larder::Codec<Account> {
  static std::string Schema() { return "Account/1"; }

  static void Encode(const Account& account, std::string* out) {
    out->append(std::to_string(account.cents)).append(" ").append(account.owner);
  }

  static bool Decode(std::string_view bytes, Account* account) {
    const char* const end = bytes.data() + bytes.size();
    const auto [rest, error] = std::from_chars(bytes.data(), end, account->cents);
    if (error != std::errc() || rest == end || *rest != ' ') return false;
    account->owner.assign(rest + 1, end);
    return true;
  }
};

namespace {

using larder::WriteId;
using larder::examples::SqliteStore;

// Accounts in a database that has an opinion on what is one, and that can be out of order.
class Accounts : public larder::Store<std::string, Account> {
 public:
  using AccountWrite = larder::StoreWrite<std::string, Account>;

  explicit Accounts(SqliteStore& database) : database_(database) {}

  absl::StatusOr<Account> Load(const std::string& key) override {
    ++loads_;
    if (down_) return absl::UnavailableError("the database is down");
    const absl::StatusOr<std::string> bytes = database_.Load(key);
    if (!bytes.ok()) return bytes.status();
    Account account;
    if (!larder::Codec<Account>::Decode(*bytes, &account)) {
      return absl::DataLossError(key + " has a row that is no account");
    }
    return account;
  }

  absl::Status Write(const std::string& key, const Account& account, const WriteId& id) override {
    const AccountWrite write{.key = key, .value = &account, .id = id};
    return WriteMany(std::span(&write, 1))[0];
  }

  absl::Status Erase(const std::string& key, const WriteId& id) override {
    return database_.Erase(key, id);
  }

  // What write-behind calls. One transaction, but for what is refused: that error is permanent,
  // and isn't tried again, while Unavailable is.
  std::vector<absl::Status> WriteMany(std::span<const AccountWrite> writes) override {
    if (down_) return {writes.size(), absl::UnavailableError("the database is down")};
    std::vector<absl::Status> results(writes.size());
    std::vector<std::string> bytes(writes.size());
    std::vector<larder::StoreWrite<std::string, std::string>> rows;
    std::vector<size_t> places;  // of each row's result
    for (size_t i = 0; i < writes.size(); ++i) {
      const Account* const account = writes[i].value;  // nullptr: an erasure
      if (account != nullptr && account->owner.empty()) {
        results[i] = absl::InvalidArgumentError("an account needs an owner");
        continue;
      }
      if (account != nullptr) larder::Codec<Account>::Encode(*account, &bytes[i]);
      rows.push_back({.key = writes[i].key,
                      .value = account == nullptr ? nullptr : &bytes[i],
                      .id = writes[i].id});
      places.push_back(i);
    }
    const std::vector<absl::Status> stored = database_.WriteMany(rows);
    for (size_t i = 0; i < rows.size(); ++i) results[places[i]] = stored[i];
    return results;
  }

  void set_down(bool down) { down_ = down; }
  int loads() const { return loads_; }

 private:
  SqliteStore& database_;
  std::atomic<bool> down_{false};
  std::atomic<int> loads_{0};
};

using Cache = larder::TieredCache<std::string, Account>;

Cache::Options OptionsIn(const std::string& directory, Accounts& accounts) {
  Cache::Options options;
  options.cache.capacity = 100'000;
  options.cache.ttl = absl::Minutes(5);
  options.store = &accounts;
  options.write_policy = larder::WritePolicy::kBehind;
  options.write_behind.durability = larder::Durability::kJournalSync;
  options.write_behind.journal_directory = directory + "/journal";
  options.write_behind.dead_letter_path = directory + "/dead_letters";
  options.snapshot_path = directory + "/accounts.snapshot";
  return options;
}

bool Holds(Cache& cache, const std::string& key, int64_t cents) {
  const absl::StatusOr<Account> account = cache.Get(key);
  if (account.ok() && account->cents == cents) return true;
  std::cerr << key << " should have " << cents << " cents: " << account.status() << '\n';
  return false;
}

bool Is(bool condition, const char* what) {
  if (!condition) std::cerr << "it isn't so that " << what << '\n';
  return condition;
}

// The database is well, and then it isn't.
bool FirstRun(const std::string& directory, Accounts& accounts) {
  auto cache = Cache::Create(OptionsIn(directory, accounts));
  if (!cache.ok()) return Is(false, cache.status().ToString().c_str());
  Cache& service = **cache;

  // Each returns once the journal is on the disk; the database gets them in batches, soon after.
  bool good = Is(service.Put("alice", {.cents = 10'00, .owner = "Alice"}).ok(), "Alice is put");
  good &= Is(service.Put("bob", {.cents = 20'00, .owner = "Bob"}).ok(), "Bob is put");
  good &= Is(service.Put("nobody", {.cents = 30'00, .owner = ""}).ok(), "nobody is put");
  good &= Is(service.Flush(absl::Seconds(30)).ok(), "all is in the database, or refused for good");
  good &= Is(accounts.Load("bob").ok(), "the database has Bob");

  // What was acknowledged and then refused has left the cache, too, and is told here.
  good &= Is(absl::IsNotFound(service.Get("nobody").status()), "what was refused isn't there");
  const auto letters = larder::ReadDeadLetters<std::string, Account>(directory + "/dead_letters");
  if (!letters.ok()) return Is(false, letters.status().ToString().c_str());
  for (const larder::DeadLetter<std::string, Account>& letter : *letters) {
    std::cout << "refused: " << letter.key << ": " << letter.reason.message() << '\n';
  }
  good &= Is(letters->size() == 1 && letters->front().key == "nobody" &&
                 letters->front().value->cents == 30'00,
             "there is one dead letter");

  accounts.set_down(true);
  good &= Is(service.Put("alice", {.cents = 11'00, .owner = "Alice"}).ok(), "Alice is put again");
  good &= Is(service.Put("carol", {.cents = 40'00, .owner = "Carol"}).ok(), "Carol is put");
  good &= Holds(service, "alice", 11'00) && Holds(service, "carol", 40'00);

  // A service gives it longer. What isn't in the database by then stays in the journal.
  const absl::Status closed = service.Close(absl::Milliseconds(100));
  std::cout << "closed: " << closed.message() << '\n';
  good &= Is(absl::IsDeadlineExceeded(closed), "Close can't reach the database");
  return good;
}

// The process is another one, and the database is back.
bool SecondRun(const std::string& directory, Accounts& accounts) {
  accounts.set_down(false);
  auto cache = Cache::Create(OptionsIn(directory, accounts));
  if (!cache.ok()) return Is(false, cache.status().ToString().c_str());
  Cache& service = **cache;

  const larder::JournalReport journal = service.OpenedJournal();
  const absl::StatusOr<larder::SnapshotInfo>& snapshot = service.LoadedSnapshot();
  if (!snapshot.ok()) return Is(false, snapshot.status().ToString().c_str());
  std::cout << "restarted: " << snapshot->entries << " account from the snapshot, "
            << journal.unacknowledged << " writes from the journal\n";
  bool good = Is(snapshot->entries == 1, "Bob is in the snapshot");
  good &= Is(journal.unacknowledged == 2, "Alice and Carol are in the journal");

  // The journal knows better than the database. Bob costs no query.
  const int loads = accounts.loads();
  good &= Holds(service, "bob", 20'00);
  good &= Is(accounts.loads() == loads, "Bob comes from the snapshot");
  good &= Holds(service, "alice", 11'00) && Holds(service, "carol", 40'00);

  good &= Is(service.Flush(absl::Seconds(30)).ok(), "the database catches up");
  const absl::StatusOr<Account> alice = accounts.Load("alice");
  good &= Is(alice.ok() && alice->cents == 11'00, "the database has what Alice was put last");
  good &= Is(service.Close(absl::Seconds(30)).ok(), "nothing is left");
  return good;
}

}  // namespace

int main() {
  std::string directory = "/tmp/larder_write_behind_XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return 1;
  bool good = false;
  if (auto database = SqliteStore::Open(directory + "/accounts.db"); database.ok()) {
    Accounts accounts(**database);
    good = FirstRun(directory, accounts) && SecondRun(directory, accounts);
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  return good ? 0 : 1;
}
