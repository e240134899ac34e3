// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/table.h"

#include <algorithm>
#include <utility>

namespace larder::internal {
namespace {

// Three quarters full, about one entry in fifty is displaced; nine tenths, one in eight.
constexpr size_t kGoodLoad = 9;

}  // namespace

std::unique_ptr<Table> Table::Create(size_t entries) {
  const size_t buckets = std::max<size_t>(1, (entries + kGoodLoad - 1) / kGoodLoad);
  if (buckets > UINT32_MAX) return nullptr;
  Pages pages = Pages::Allocate(buckets * sizeof(Bucket));
  if (pages.data() == nullptr) return nullptr;
  return std::unique_ptr<Table>(new Table(std::move(pages), buckets, buckets * kGoodLoad));
}

Table::Position Table::LocateNode(uint32_t home, NodeIndex node) {
  size_t at = HomeNumber(home);
  for (size_t probes = 0; probes < buckets_; ++probes) {
    Bucket& bucket = data()[at];
    if (const uint32_t found = bucket.MatchNode(node); found != 0) {
      return {&bucket, std::countr_zero(found)};
    }
    if (bucket.Displaced() == 0) break;
    at = at + 1 == buckets_ ? 0 : at + 1;
  }
  return {};
}

void Table::Insert(uint32_t home, uint8_t tag, NodeIndex node) {
  size_t at = HomeNumber(home);
  for (;;) {
    Bucket& bucket = data()[at];
    if (const uint32_t free = bucket.Match(0); free != 0) {
      const int slot = std::countr_zero(free);
      bucket.nodes[slot].store(node, std::memory_order_release);
      bucket.SetTag(slot, tag);
      ++size_;
      return;
    }
    // Before the entry appears behind this bucket, searches must know to go there.
    bucket.AddDisplaced(1);
    at = at + 1 == buckets_ ? 0 : at + 1;
  }
}

void Table::Erase(uint32_t home, Position position) {
  position.bucket->SetTag(position.slot, 0);
  const size_t last = static_cast<size_t>(position.bucket - data());
  for (size_t at = HomeNumber(home); at != last; at = at + 1 == buckets_ ? 0 : at + 1) {
    data()[at].AddDisplaced(-1);
  }
  --size_;
}

}  // namespace larder::internal
