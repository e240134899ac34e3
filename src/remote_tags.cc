// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/remote_tags.h"

#include <algorithm>
#include <iterator>

#include "absl/hash/hash.h"

namespace larder::internal {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

RemoteTags::RemoteTags(size_t max_tags)
    : max_in_part_(std::max<size_t>(1, (max_tags + kParts - 1) / kParts)) {}

RemoteTags::Place RemoteTags::PlaceOf(std::string_view tag) {
  const size_t hash = absl::Hash<absl::string_view>{}(View(tag));
  return {hash % kParts, hash / kParts % kCounters};
}

std::optional<RemoteTags::Known> RemoteTags::Find(std::string_view tag) const {
  const Part& part = parts_[PlaceOf(tag).part];
  MutexLock lock(&part.mutex);
  const auto found = part.by_name.find(View(tag));
  if (found == part.by_name.end()) return std::nullopt;
  return found->second->known;
}

RemoteTags::Ticket RemoteTags::TicketFor(std::string_view tag) const {
  const Place place = PlaceOf(tag);
  const Part& part = parts_[place.part];
  MutexLock lock(&part.mutex);
  return Ticket(part.forgotten[place.counter]);
}

bool RemoteTags::Learn(std::string_view tag, Ticket ticket, const Known& known) {
  const Place place = PlaceOf(tag);
  Part& part = parts_[place.part];
  MutexLock lock(&part.mutex);
  if (part.forgotten[place.counter] != ticket.forgotten_) return false;
  const auto found = part.by_name.find(View(tag));
  if (found != part.by_name.end()) {
    found->second->known = known;
    part.tags.splice(part.tags.end(), part.tags, found->second);
    return true;
  }
  if (part.tags.size() >= max_in_part_) {
    part.by_name.erase(View(part.tags.front().name));
    part.tags.pop_front();
  }
  part.tags.push_back({std::string(tag), known});
  part.by_name.emplace(View(part.tags.back().name), std::prev(part.tags.end()));
  return true;
}

std::optional<RemoteTags::Known> RemoteTags::Forget(std::string_view tag) {
  const Place place = PlaceOf(tag);
  Part& part = parts_[place.part];
  MutexLock lock(&part.mutex);
  ++part.forgotten[place.counter];
  const auto found = part.by_name.find(View(tag));
  if (found == part.by_name.end()) return std::nullopt;
  const auto place_in_list = found->second;
  const Known known = place_in_list->known;
  part.by_name.erase(found);
  part.tags.erase(place_in_list);
  return known;
}

void RemoteTags::ForgetAll() {
  for (Part& part : parts_) {
    MutexLock lock(&part.mutex);
    for (uint64_t& forgotten : part.forgotten) ++forgotten;
    part.by_name.clear();
    part.tags.clear();
  }
}

size_t RemoteTags::size() const {
  size_t sum = 0;
  for (const Part& part : parts_) {
    MutexLock lock(&part.mutex);
    sum += part.tags.size();
  }
  return sum;
}

}  // namespace larder::internal
