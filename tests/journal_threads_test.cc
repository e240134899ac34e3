// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/event.h"
#include "larder/internal/journal.h"
#include "src/group_commit.h"
#include "src/text.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/journal_fixture.h"
#include "tests/support/threads.h"

namespace larder::internal {
namespace {

using test::Append;
using test::CrashKind;
using test::Eventually;
using test::FaultyFileSystem;
using test::FileCall;
using test::OpenedJournal;
using test::OpenJournal;
using test::RunThreads;
using test::SettingsOf;

TEST(GroupCommitThreadsTest, MembersAreTakenInOrderOnceEach) {
  GroupCommit commits(10);
  std::vector<uint64_t> taken;  // by whoever has the turn
  RunThreads(8, [&](int) {
    for (int i = 0; i < 200; ++i) {
      GroupCommit::Member member("12345");
      if (commits.Join(&member) == GroupCommit::Joined::kLeads) {
        const auto group = commits.Take(20);
        EXPECT_GE(group.size(), 1u);
        EXPECT_LE(group.size(), 4u);
        EXPECT_EQ(group.front(), &member);
        for (const auto* of_it : group) taken.push_back(of_it->number());
        commits.Finish(group, absl::OkStatus(), &member);
        commits.Leave();
      }
      EXPECT_TRUE(member.outcome().ok());
    }
  });
  ASSERT_EQ(taken.size(), 1600u);
  for (size_t i = 0; i < taken.size(); ++i) EXPECT_EQ(taken[i], 10 + i);
}

TEST(GroupCommitThreadsTest, AGroupGathersWhileAnotherHasTheTurn) {
  GroupCommit commits(1);
  ASSERT_TRUE(commits.TryEnter());
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i) {
    threads.emplace_back([&commits] {
      GroupCommit::Member member("");
      EXPECT_EQ(commits.Join(&member), GroupCommit::Joined::kFinished);
      EXPECT_TRUE(absl::IsUnavailable(member.outcome()));
    });
  }
  std::vector<GroupCommit::Member*> group;
  EXPECT_TRUE(Eventually([&] {
    for (GroupCommit::Member* member : commits.Take(100)) group.push_back(member);
    return group.size() == 20;
  }));
  commits.Finish(group, absl::UnavailableError("failed"), nullptr);
  for (std::thread& thread : threads) thread.join();
  commits.Leave();
}

TEST(GroupCommitThreadsTest, TurnsAreTakenByOneAtATime) {
  GroupCommit commits(1);
  int counter = 0;
  RunThreads(8, [&](int thread) {
    for (int i = 0; i < 200; ++i) {
      if (thread % 2 == 0) {
        commits.Enter();
      } else if (!commits.TryEnter()) {
        continue;
      }
      ++counter;
      commits.Leave();
    }
  });
  EXPECT_GE(counter, 800);
  commits.Close();
  GroupCommit::Member late("");
  EXPECT_EQ(commits.Join(&late), GroupCommit::Joined::kClosed);
}

TEST(JournalThreadsTest, AppendsThatComeTogetherShareASync) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  Journal& journal = *opened.journal;
  Append(journal, "first");
  // The next append's write waits until all others have joined the next group.
  constexpr int kOthers = 20;
  Event writing;
  Event go_on;
  files.SetObserver([&](FileCall call, const std::string&) {
    if (call != FileCall::kAppend || writing.IsSet()) return;
    writing.Set();
    go_on.Wait();
  });
  std::thread leader([&] { Append(journal, "leader"); });
  writing.Wait();
  const JournalStats before = journal.Stats();
  std::atomic<int> appending{0};
  std::vector<std::thread> others;
  for (int i = 0; i < kOthers; ++i) {
    others.emplace_back([&] {
      ++appending;
      Append(journal, "other");
    });
  }
  EXPECT_TRUE(Eventually([&] { return appending == kOthers; }));
  go_on.Set();
  leader.join();
  for (std::thread& other : others) other.join();
  const JournalStats after = journal.Stats();
  EXPECT_EQ(after.appends - before.appends, kOthers + 1u);
  EXPECT_EQ(after.syncs - before.syncs, after.groups - before.groups);
  EXPECT_LE(after.groups - before.groups, kOthers + 1u);
}

TEST(JournalThreadsTest, AFailedSyncFailsTheWholeGroup) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  std::mutex mutex;
  std::set<uint64_t> appended;
  std::set<std::string> payloads;
  std::atomic<int> failures{0};
  RunThreads(8, [&](int thread) {
    for (int i = 0; i < 100; ++i) {
      if (thread == 0 && i % 10 == 5) {
        files.FailCall(files.calls() + 3, FaultyFileSystem::IoError());
      }
      const std::string payload = Concat(thread, ":", i);
      const auto sequence = opened.journal->Append(payload);
      if (!sequence.ok()) {
        ++failures;
        continue;
      }
      const std::lock_guard lock(mutex);
      EXPECT_TRUE(appended.insert(*sequence).second);
      payloads.insert(payload);
    }
  });
  files.Heal();
  const uint64_t last = Append(*opened.journal, "last");
  const JournalStats stats = opened.journal->Stats();
  EXPECT_EQ(stats.appends, appended.size() + 1);
  EXPECT_EQ(stats.failed_appends, static_cast<uint64_t>(failures));
  const auto disk = files.Crash(CrashKind::kTorn);
  std::set<std::string> found;
  for (const JournalWrite& write : OpenJournal(*disk).found.writes) {
    if (write.sequence == last) continue;
    EXPECT_TRUE(appended.contains(write.sequence));
    found.insert(write.payload);
  }
  EXPECT_EQ(found, payloads);
}

TEST(JournalThreadsTest, ThreadsAppendAcknowledgeAndSync) {
  for (const Durability durability :
       {Durability::kJournalSync, Durability::kJournalSyncInterval, Durability::kJournal}) {
    FaultyFileSystem files;
    JournalSettings settings = SettingsOf(files, durability);
    settings.sync_interval = absl::Microseconds(200);
    std::map<uint64_t, std::string> expected;
    std::mutex mutex;
    {
      const OpenedJournal opened = OpenJournal(settings);
      Journal& journal = *opened.journal;
      RunThreads(6, [&](int thread) {
        uint64_t before = 0;
        for (int i = 0; i < 150; ++i) {
          const std::string payload = Concat(thread, ":", i, std::string(100, 'x'));
          const uint64_t sequence = Append(journal, payload);
          EXPECT_GT(sequence, before);
          before = sequence;
          if (i % 25 == 7) {
            const std::lock_guard lock(mutex);
            expected[sequence] = payload;
          } else {
            journal.Acknowledge(absl::Span<const uint64_t>(&sequence, 1));
          }
          EXPECT_TRUE(i % 50 != 49 || journal.Sync().ok());
          EXPECT_LE(journal.Stats().live_writes, 1000u);
        }
      });
      EXPECT_EQ(journal.Stats().appends, 900u);
    }
    std::map<uint64_t, std::string> found;
    for (const JournalWrite& write : OpenJournal(files).found.writes) {
      found[write.sequence] = write.payload;
    }
    EXPECT_EQ(found, expected);
  }
}

TEST(JournalThreadsTest, SyncsWithinTheInterval) {
  FaultyFileSystem files;
  JournalSettings settings = SettingsOf(files, Durability::kJournalSyncInterval);
  settings.sync_interval = absl::Milliseconds(1);
  const OpenedJournal opened = OpenJournal(settings);
  Append(*opened.journal, "one");
  Append(*opened.journal, "two");
  EXPECT_TRUE(Eventually(
      [&] { return OpenJournal(*files.Crash(CrashKind::kUnsynced)).found.writes.size() == 2; }));
  // And where that failed, again.
  files.FailAll(FileCall::kSync, FaultyFileSystem::IoError());
  Append(*opened.journal, "three");
  EXPECT_TRUE(Eventually([&] { return files.failed_calls() > 3; }));
  files.Heal();
  EXPECT_TRUE(Eventually(
      [&] { return OpenJournal(*files.Crash(CrashKind::kUnsynced)).found.writes.size() == 3; }));
}

TEST(JournalThreadsTest, CloseWaitsForAppendsAndRefusesLaterOnes) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  std::atomic<uint64_t> appended{0};
  RunThreads(6, [&](int thread) {
    for (int i = 0; i < 100; ++i) {
      if (thread == 0 && i == 50) {
        EXPECT_TRUE(opened.journal->Close().ok());
      }
      const auto sequence = opened.journal->Append("write");
      if (sequence.ok()) {
        ++appended;
      } else {
        EXPECT_TRUE(absl::IsFailedPrecondition(sequence.status())) << sequence.status();
      }
    }
  });
  EXPECT_EQ(OpenJournal(files).found.writes.size(), appended);
}

}  // namespace
}  // namespace larder::internal
