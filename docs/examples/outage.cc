// SPDX-License-Identifier: Apache-2.0
//
// What a service answers while its database is down: with stale values, a soft timeout, a circuit
// breaker and tags. Time is moved by hand, so that it runs in no time.

#include <iostream>
#include <string>

#include "larder/cache.h"
#include "larder/manual_clock.h"

namespace {

// A price list that can be out of order.
class Database {
 public:
  absl::StatusOr<std::string> Price(const std::string& article) {
    ++queries_;
    if (down_) return absl::UnavailableError("the database is down");
    if (article == "article:none") return absl::NotFoundError("no such article");
    return article + " costs " + std::to_string(queries_) + " euros";
  }
  void set_down(bool down) { down_ = down; }
  int queries() const { return queries_; }

 private:
  bool down_ = false;
  int queries_ = 0;
};

}  // namespace

int main() {
  larder::ManualClock clock;
  using Cache = larder::Cache<std::string, std::string, larder::S3Fifo>;
  Cache::Options options;
  options.capacity = 100'000;
  options.clock = &clock;  // a service leaves this out
  options.ttl = absl::Minutes(5);
  options.stale_if_error = absl::Hours(1);  // better an old price than none
  options.retry_after = absl::Seconds(10);  // and no query for it more often than that
  options.negative_ttl = absl::Minutes(1);  // what isn't there isn't asked for again at once
  options.circuit_breaker.failures = 5;     // after five failures in a row
  options.circuit_breaker.open_for = absl::Seconds(5);  // no queries for five seconds
  auto cache = Cache::Create(options);
  if (!cache.ok()) return 1;

  Database database;
  const auto ask = [&](const std::string& article) {
    auto price = (*cache)->GetOrLoadResult(
        article, [&](const std::string& key) { return database.Price(key); }, {.tags = {"prices"}});
    if (price.ok()) {
      std::cout << price->value << " (" << larder::LoadSourceName(price->source) << ", "
                << price->age << " old)\n";
    } else {
      std::cout << article << ": " << price.status().message() << "\n";
    }
    return price;
  };

  if (!ask("article:7").ok()) return 1;  // loaded
  if (!absl::IsNotFound(ask("article:none").status())) return 1;
  if (!absl::IsNotFound(ask("article:none").status())) return 1;  // no second query
  if (database.queries() != 2) return 1;

  database.set_down(true);
  clock.Advance(absl::Minutes(20));
  const auto stale = ask("article:7");  // the query fails
  if (!stale.ok() || stale->source != larder::LoadSource::kStale) return 1;
  if (!ask("article:7").ok()) return 1;  // no query for ten seconds
  if (database.queries() != 3) return 1;

  database.set_down(false);
  clock.Advance(absl::Seconds(11));
  const auto fresh = ask("article:7");
  if (!fresh.ok() || fresh->source != larder::LoadSource::kRefreshed) return 1;

  (*cache)->InvalidateTag("prices");  // all at once, however many there are
  return (*cache)->Contains("article:7") ? 1 : 0;
}
