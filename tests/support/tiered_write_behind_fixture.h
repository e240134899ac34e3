// SPDX-License-Identifier: Apache-2.0
//
// TieredWriteBehindFixture: a TieredCache that writes behind, on a clock that stands still, so that
// nothing is written until a test says so.

#ifndef LARDER_TESTS_SUPPORT_TIERED_WRITE_BEHIND_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_TIERED_WRITE_BEHIND_FIXTURE_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "larder/dead_letter.h"
#include "larder/tiered_cache.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/tiered_fixture.h"

namespace larder::test {

inline constexpr absl::Duration kLong = absl::Minutes(5);  // for what comes at once

class TieredWriteBehindFixture : public TieredFixture {
 protected:
  using Letter = DeadLetter<std::string, std::string>;

  TieredWriteBehindFixture() {
    options_.write_policy = WritePolicy::kBehind;
    options_.write_behind.file_system = &files_;
    options_.write_behind.close_timeout = absl::ZeroDuration();
    options_.on_dead_letter = [this](const Letter& letter) { letters_.push_back(letter); };
  }

  ~TieredWriteBehindFixture() override { End(); }

  void UseJournal(Durability durability = Durability::kJournalSync) {
    options_.write_behind.durability = durability;
    options_.write_behind.journal_directory = "journal";
  }

  FaultyFileSystem files_;
  std::vector<Letter> letters_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_TIERED_WRITE_BEHIND_FIXTURE_H_
