// SPDX-License-Identifier: Apache-2.0
//
// What of FaultyFileSystem's files reaches the disk.

#include <algorithm>

#include "tests/support/faulty_file_system.h"

namespace larder::test {

using internal::MutexLock;

namespace {

size_t CommonPrefix(std::string_view a, std::string_view b) {
  const size_t shorter = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + shorter, b.begin()).first -
                             a.begin());
}

void FillWithGarbage(std::mt19937_64& random, size_t begin, size_t end, std::string* bytes) {
  const bool zeros = random() % 2 == 0;
  for (size_t i = begin; i < end; ++i) (*bytes)[i] = zeros ? '\0' : static_cast<char>(random());
}

}  // namespace

void FaultyFileSystem::Apply(const Change& change, Names* names) {
  if (!change.removed.empty()) names->erase(change.removed);
  if (!change.added.empty()) (*names)[change.added] = change.contents;
}

void FaultyFileSystem::SyncInPart(Contents& contents) {
  const size_t begin = CommonPrefix(contents.durable, contents.bytes);
  const size_t end = contents.bytes.size();
  const size_t cut = begin + Draw(end - begin + 1);
  const bool truncated = begin < contents.durable.size();
  switch (Draw(truncated ? 3 : 5)) {
    case 0:  // Nothing is lost or synced.
      break;
    case 1:  // All was.
      contents.durable = OnDisk(contents);
      break;
    case 2:  // All was dropped.
      contents.dropped.emplace_back(begin, end);
      break;
    case 3:  // A part was synced, the rest dropped.
      contents.dropped.emplace_back(cut, end);
      contents.durable = OnDisk(contents).substr(0, cut);
      break;
    case 4:  // A part was dropped, the rest may be synced later.
      contents.dropped.emplace_back(cut, cut + Draw(end - cut + 1));
      break;
  }
}

std::string FaultyFileSystem::OnDisk(const Contents& contents) {
  std::string bytes = contents.bytes;
  for (const auto& [begin, end] : contents.dropped)
    std::fill(bytes.begin() + begin, bytes.begin() + end, '\0');
  return bytes;
}

std::string FaultyFileSystem::Torn(const Contents& contents, std::mt19937_64& random) {
  std::string bytes = OnDisk(contents);
  const size_t begin = CommonPrefix(contents.durable, bytes);
  // Whether a truncation reached the disk. Otherwise nothing that came after it did.
  if (begin < contents.durable.size() && random() % 2 == 0) return contents.durable;
  const size_t cut = begin + random() % (bytes.size() - begin + 1);
  const size_t end = cut + random() % (bytes.size() - cut + 1);
  switch (random() % 5) {
    case 0:
      bytes.resize(begin);
      break;
    case 1:
      bytes.resize(cut);
      break;
    case 2:  // The length was written, the bytes were not.
      bytes.resize(end);
      FillWithGarbage(random, cut, end, &bytes);
      break;
    case 3:  // Blocks are written in any order.
      FillWithGarbage(random, cut, end, &bytes);
      break;
    case 4:
      break;
  }
  return bytes;
}

FaultyFileSystem::Names FaultyFileSystem::TornNames(Names durable,
                                                    const std::vector<Change>& changes,
                                                    std::mt19937_64& random) {
  const bool in_order = random() % 2 == 0;
  size_t left = random() % (changes.size() + 1);
  for (const Change& change : changes) {
    const bool made = in_order ? left > 0 : random() % 2 == 0;
    if (made) Apply(change, &durable);
    if (left > 0) --left;
  }
  return durable;
}

std::unique_ptr<FaultyFileSystem> FaultyFileSystem::Crash(CrashKind kind, uint64_t seed) const {
  auto crashed = std::make_unique<FaultyFileSystem>(seed);
  std::map<std::shared_ptr<Contents>, std::shared_ptr<Contents>> copies;
  MutexLock lock(&mutex_);
  MutexLock crashed_lock(&crashed->mutex_);
  std::mt19937_64 random(seed);
  const auto copy_of = [&](const std::shared_ptr<Contents>& contents) {
    std::shared_ptr<Contents>& copy = copies[contents];
    if (copy != nullptr || contents == nullptr) return copy;
    if (kind == CrashKind::kProcess) return copy = std::make_shared<Contents>(*contents);
    std::string bytes = kind == CrashKind::kTorn ? Torn(*contents, random) : contents->durable;
    return copy = std::make_shared<Contents>(Contents{bytes, bytes, {}});
  };
  const auto copy_names = [&](const Names& names, Names* to) {
    for (const auto& [path, contents] : names) (*to)[path] = copy_of(contents);
  };
  crashed->directories_ = directories_;
  if (kind == CrashKind::kProcess) {
    copy_names(names_, &crashed->names_);
    copy_names(durable_names_, &crashed->durable_names_);
    for (Change change : changes_) {
      change.contents = copy_of(change.contents);
      crashed->changes_.push_back(std::move(change));
    }
    return crashed;
  }
  const bool torn = kind == CrashKind::kTorn;
  copy_names(torn ? TornNames(durable_names_, changes_, random) : durable_names_, &crashed->names_);
  crashed->durable_names_ = crashed->names_;
  return crashed;
}

}  // namespace larder::test
