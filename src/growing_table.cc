// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/growing_table.h"

#include "larder/internal/epoch.h"

namespace larder::internal {

void GrowingTable::EraseGrowing(uint32_t home, Position position) {
  if (older_->Holds(position)) return older_->Erase(home, position);
  const Position copy = CopyOf(home, position);
  table_->Erase(home, position);
  if (copy) older_->Erase(home, copy);
}

std::unique_ptr<Table> GrowingTable::Claim() {
  claimed_ = true;
  return std::move(larger_);
}

std::unique_ptr<Table> GrowingTable::HandIn(std::unique_ptr<Table> larger, bool ready) {
  claimed_ = false;
  // Meanwhile it may have shrunk, been emptied, or grown for want of a slot.
  const bool needed = WantsLarger() && larger != nullptr && larger->capacity() > capacity();
  if (!needed) return larger;
  if (ready) {
    StartGrowing(std::move(larger));
  } else {
    larger_ = std::move(larger);
  }
  return nullptr;
}

void GrowingTable::StartGrowing(std::unique_ptr<Table> larger) {
  older_ = std::exchange(table_, std::move(larger));
  copied_ = 0;
  at_ease_below_ = 0;
  Publish(table_->ViewBefore(*older_));
}

void GrowingTable::EndGrowing() {
  Publish(table_->view());
  Retire(std::move(older_));
  at_ease_below_ = capacity() + 1;
}

bool GrowingTable::StartAnew(size_t entries) {
  std::unique_ptr<Table> empty = Table::Create(entries);
  if (empty == nullptr) return false;
  Publish(empty->view());
  if (older_ != nullptr) Retire(std::move(older_));
  if (table_ != nullptr) Retire(std::move(table_));
  table_ = std::move(empty);
  at_ease_below_ = capacity() + 1;
  size_ = 0;
  return true;
}

void GrowingTable::Retire(std::unique_ptr<Table> table) {
  table->retired_in_ = Epoch::Advance();
  table->retired_before_ = std::move(retired_);
  retired_ = std::move(table);
  ++retirements_;
}

std::unique_ptr<Table> GrowingTable::TakeRetired(uint64_t free_before) {
  std::unique_ptr<Table>* latest = &retired_;
  while (*latest != nullptr && (*latest)->retired_in_ >= free_before) {
    latest = &(*latest)->retired_before_;
  }
  return std::move(*latest);
}

}  // namespace larder::internal
