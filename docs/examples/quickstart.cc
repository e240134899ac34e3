// SPDX-License-Identifier: Apache-2.0
//
// The README's example: cache-aside with a time to live and one load per key.

#include <iostream>
#include <string>

#include "larder/cache.h"

int main() {
  using Cache = larder::Cache<std::string, std::string>;
  Cache::Options options;
  options.capacity = 100'000;  // entries
  options.ttl = absl::Minutes(5);
  auto cache = Cache::Create(options);
  if (!cache.ok()) return 1;

  int queries = 0;
  auto load = [&queries](const std::string& id) -> absl::StatusOr<std::string> {
    ++queries;  // here a service asks its database
    return "the profile of " + id;
  };
  for (int request = 0; request < 1000; ++request) {
    absl::StatusOr<std::string> profile = (*cache)->GetOrLoad("user:42", load);
    if (!profile.ok()) return 1;
  }
  (*cache)->Erase("user:42");  // when the user changes

  const larder::CacheStats stats = (*cache)->Stats();
  std::cout << stats.hits << " hits, " << stats.misses << " miss, " << queries << " query\n";
  return queries == 1 && stats.hits == 999 ? 0 : 1;
}
