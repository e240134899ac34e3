// SPDX-License-Identifier: Apache-2.0
//
// What a user of an installed larder writes first: shows that headers and libraries are all there.

#include <iostream>
#include <optional>
#include <string>
#include <string_view>

#include "larder/cache.h"
#include "larder/redis_tier.h"

int main() {
  using Cache = larder::Cache<std::string, int>;
  Cache::Options options;
  options.capacity = 2;
  auto cache = Cache::Create(options);
  if (!cache.ok()) {
    std::cerr << cache.status() << '\n';
    return 1;
  }
  for (const char* key : {"one", "two", "three"}) {
    if (auto status = (*cache)->Put(key, 1); !status.ok()) {
      std::cerr << status << '\n';
      return 1;
    }
  }
  const std::optional<int> evicted = (*cache)->Get(std::string_view("one"));
  const std::optional<int> kept = (*cache)->Get(std::string_view("three"));
  if (evicted.has_value() || kept != 1) {
    std::cerr << "a cache of two entries kept the wrong ones\n";
    return 1;
  }
  if (larder::RedisTier::Create({}).ok()) {
    std::cerr << "a Redis tier without a server's address was accepted\n";
    return 1;
  }
  return 0;
}
