// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_REMOTE_CACHE_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_REMOTE_CACHE_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "larder/internal/remote_entry.h"
#include "larder/remote_options.h"
#include "tests/support/model_tier.h"
#include "tests/support/remote_server.h"

namespace larder::test {

inline constexpr std::optional<ModelStore::Row> kNoRow;

// Servers that share a tier and a store.
class RemoteCacheFixture : public testing::Test {
 protected:
  RemoteServer& Start(RemoteOptions options = RemoteServer::DefaultOptions()) {
    servers_.push_back(std::make_unique<RemoteServer>(&redis_, &store_, options));
    servers_.back()->AwaitUp();
    return *servers_.back();
  }

  void AwaitTold() {
    for (const auto& server : servers_) server->AwaitTold();
  }

  // Nobody has anything else than the store.
  void ExpectAgreement(const std::vector<std::string>& keys) {
    AwaitTold();
    for (const std::string& key : keys) {
      const auto row = store_.Find(key);
      for (const auto& server : servers_) {
        const auto in_memory = server->InMemory(key);
        if (in_memory.has_value()) {
          ASSERT_TRUE(row.has_value()) << key;
          EXPECT_EQ(*in_memory, row->value) << key;
        }
        const auto got = server->Get(key);
        EXPECT_EQ(got.has_value(), row.has_value()) << key;
        if (got.has_value() && row.has_value()) {
          EXPECT_EQ(*got, row->value) << key;
        }
      }
    }
  }

  std::optional<internal::RemoteEntryKind> KindOf(const std::string& key) {
    const auto bytes = redis_.Peek(key);
    if (!bytes.has_value()) return std::nullopt;
    const auto peeked = internal::PeekEntry(*bytes);
    return peeked.has_value() ? std::optional(peeked->kind) : std::nullopt;
  }

  ModelServer redis_;
  ModelStore store_;
  std::vector<std::unique_ptr<RemoteServer>> servers_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_REMOTE_CACHE_FIXTURE_H_
