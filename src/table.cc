// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/table.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

namespace larder::internal {
Table::Table(Pages pages, size_t buckets)
    : view_{static_cast<Bucket*>(pages.data()), static_cast<uint32_t>(buckets), nullptr},
      growing_view_(view_),
      pages_(std::move(pages)) {}

std::unique_ptr<Table> Table::Create(size_t entries) {
  const size_t buckets = std::max<size_t>(1, (entries + kGoodLoad - 1) / kGoodLoad);
  if (buckets > UINT32_MAX) return nullptr;
  Pages pages = Pages::Allocate(buckets * sizeof(Bucket));
  if (pages.data() == nullptr) return nullptr;
  return std::unique_ptr<Table>(new (std::nothrow) Table(std::move(pages), buckets));
}

Table::~Table() {
  // One after the other, since there may be more than the stack is deep.
  while (retired_before_ != nullptr) {
    retired_before_ = std::move(retired_before_->retired_before_);
  }
}

bool Table::Populate(size_t bytes) {
  const size_t end = std::min(populated_ + bytes, pages_.bytes());
  pages_.Populate(populated_, end - populated_);
  populated_ = end;
  return end == pages_.bytes();
}

size_t Table::Count() const {
  size_t entries = 0;
  for (size_t i = 0; i < bucket_count(); ++i) {
    entries += static_cast<size_t>(std::popcount(bucket(i).Used()));
  }
  return entries;
}

Table::Position Table::LocateNode(uint32_t home, NodeIndex node) {
  size_t at = view_.HomeNumber(home);
  for (size_t probes = 0; probes < bucket_count(); ++probes) {
    Bucket& bucket = view_.buckets[at];
    if (const uint32_t found = bucket.MatchNode(node); found != 0) {
      return {&bucket, std::countr_zero(found)};
    }
    if (bucket.Displaced() == 0) break;
    at = After(at);
  }
  return {};
}

void Table::Insert(uint32_t home, uint8_t tag, NodeIndex node) {
  size_t at = view_.HomeNumber(home);
  for (;;) {
    Bucket& bucket = view_.buckets[at];
    if (const uint32_t free = bucket.Match(0); free != 0) {
      const int slot = std::countr_zero(free);
      bucket.nodes[slot].store(node, std::memory_order_release);
      bucket.SetTag(slot, tag);
      return;
    }
    // Before the entry appears behind this bucket, searches must know to go there.
    bucket.AddDisplaced(1);
    at = After(at);
  }
}

void Table::Erase(uint32_t home, Position position) {
  position.bucket->SetTag(position.slot, 0);
  const size_t last = static_cast<size_t>(position.bucket - view_.buckets);
  for (size_t at = view_.HomeNumber(home); at != last; at = After(at)) {
    view_.buckets[at].AddDisplaced(-1);
  }
}

}  // namespace larder::internal
