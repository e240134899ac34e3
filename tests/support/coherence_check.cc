// SPDX-License-Identifier: Apache-2.0

#include "tests/support/coherence_check.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace larder::test {
namespace {

// For what is bound to happen, however slow the machine is.
constexpr int64_t kPatience = int64_t{30} * 1'000'000'000;

void Sleep(absl::Duration time) { std::this_thread::sleep_for(absl::ToChronoNanoseconds(time)); }

// False where it took too long.
template <class Condition>
bool WaitFor(Condition condition) {
  for (const int64_t limit = MonotonicNow() + kPatience; MonotonicNow() < limit;) {
    if (condition()) return true;
    Sleep(absl::Milliseconds(2));
  }
  return condition();
}

template <class T>
T OrAbort(absl::StatusOr<T> made) {
  if (made.ok()) return *std::move(made);
  std::fprintf(stderr, "%s\n", made.status().ToString().c_str());
  std::abort();
}

}  // namespace

CoherenceCheck::CoherenceCheck(const CoherenceSettings& settings, Serve serve)
    : settings_(settings), serve_(serve), pids_(kServers, -1) {
  void* const memory = mmap(nullptr, sizeof(CoherenceShared), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  shared_ = new (memory) CoherenceShared;
  shared_->bound = absl::ToInt64Nanoseconds(settings.lag);
  shared_->cut_off_bound = absl::ToInt64Nanoseconds(settings.CutOffBound());
  Expect(CutOff::kAll);
  for (int key = 0; key < CoherenceTruth::kKeys; ++key) {
    if (!CoherenceTruth::IsErasable(key)) {
      shared_->truth.Write(key, shared_->truth.NewId(/*server=*/0), /*is_erased=*/false);
    }
  }
  redis_ = OrAbort(RedisServer::Start({.tcp = settings.tcp}));
  for (int server = 0; server < kServers; ++server) {
    relays_.push_back(
        OrAbort(FaultRelay::Start({.target_socket = settings.tcp ? "" : redis_->unix_socket(),
                                   .target_port = redis_->port(),
                                   .tcp = settings.tcp})));
    StartServer(server);
  }
  WaitUntilUp();
  shared_->connected_since = MonotonicNow();
}

CoherenceCheck::~CoherenceCheck() {
  Tell(CoherencePhase::kEnd);
  for (int server = 0; server < kServers; ++server) EndServer(server);
  for (const std::string& problem : TakeProblems()) {
    ADD_FAILURE() << "seed " << settings_.seed << ": " << problem;
  }
  Report();
  munmap(shared_, sizeof(CoherenceShared));
}

void CoherenceCheck::StartServer(int server) {
  FaultRelay& relay = *relays_[static_cast<size_t>(server)];
  const CoherenceAddress address{.unix_socket = relay.unix_socket(), .port = relay.port()};
  CoherenceServerState& state = shared_->servers[server];
  state.health = static_cast<int>(RemoteHealth::kDown);
  state.missed_waiting = 0;
  for (auto& seen : state.seen) seen = 0;
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    serve_(*shared_, server, settings_, address);
    _exit(1);
  }
  if (pid < 0) std::abort();
  pids_[static_cast<size_t>(server)] = pid;
}

void CoherenceCheck::EndServer(int server) {
  const pid_t pid = pids_[static_cast<size_t>(server)];
  int status = 0;
  if (!WaitFor([&] { return waitpid(pid, &status, WNOHANG) == pid; })) {
    ADD_FAILURE() << "server " << server << " doesn't end";
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << "server " << server << " ended with status " << status;
}

void CoherenceCheck::ReplaceServer(int server) {
  const pid_t pid = pids_[static_cast<size_t>(server)];
  int status = 0;
  EXPECT_TRUE(WaitFor([&] { return waitpid(pid, &status, WNOHANG) == pid; }));
  StartServer(server);
}

// Returns when every thread of every server has seen it.
void CoherenceCheck::Tell(CoherencePhase phase) {
  const uint64_t order = ++orders_ * 4 + static_cast<uint64_t>(phase);
  shared_->order = order;
  const bool are_all_there = WaitFor([&] {
    for (const CoherenceServerState& state : shared_->servers) {
      for (const auto& seen : state.seen) {
        if (seen.load() != order) return false;
      }
    }
    return true;
  });
  EXPECT_TRUE(are_all_there) << "a server stands still";
}

void CoherenceCheck::Run(absl::Duration time) {
  if (shared_->order.load() % 4 != static_cast<uint64_t>(CoherencePhase::kRun)) {
    Tell(CoherencePhase::kRun);
  }
  Sleep(time);
}

void CoherenceCheck::Expect(CutOff cut_off, int alone) {
  shared_->alone = alone;
  if (cut_off == CutOff::kSome && shared_->alone_since.load() == 0) {
    shared_->alone_since = MonotonicNow();
  }
  shared_->connected_since = INT64_MAX;
}

bool CoherenceCheck::AllAreUp() const {
  for (const CoherenceServerState& state : shared_->servers) {
    if (state.missed_waiting.load() != 0) return false;
    if (settings_.has_tier && state.health.load() != static_cast<int>(RemoteHealth::kUp)) {
      return false;
    }
  }
  return true;
}

void CoherenceCheck::WaitUntilUp() {
  const bool are_up = WaitFor([this] { return AllAreUp(); });
  EXPECT_TRUE(are_up) << "a server didn't get along with the tier";
}

void CoherenceCheck::Recover() {
  // A server notices that it is cut off only after a while.
  Sleep(absl::Milliseconds(20));
  WaitUntilUp();
  const int64_t now = MonotonicNow();
  shared_->connected_since = now;
  if (const int64_t since = shared_->alone_since.load(); since != 0) {
    shared_->cut_off_bound += now - since;
    shared_->alone_since = 0;
  }
}

void CoherenceCheck::Quiesce() {
  Tell(CoherencePhase::kWait);
  WaitUntilUp();
  // For what may come late and be wrong.
  Sleep(settings_.quiet);
  Tell(CoherencePhase::kVerify);
}

std::vector<std::string> CoherenceCheck::TakeProblems() {
  std::vector<std::string> problems;
  for (CoherenceServerState& state : shared_->servers) {
    const int count = state.problems.load();
    if (count == 0) continue;
    WaitFor([&] { return state.has_problem.load(); });
    problems.push_back(absl::StrCat(state.problem, "(the first of ", count, ")"));
    state.has_problem = false;
    state.problems = 0;
  }
  return problems;
}

std::string CoherenceCheck::Redis(std::initializer_list<std::string_view> words) {
  auto cli = RedisCli::Connect(redis_->unix_socket());
  if (!cli.ok()) return "";
  return (*cli)->Run(words).value_or("");
}

void CoherenceCheck::Report() const {
  uint64_t reads = 0, memory = 0, tier = 0, store = 0, writes = 0, invalidations = 0, late = 0;
  int64_t stale = 0, stale_connected = 0;
  for (const CoherenceServerState& state : shared_->servers) {
    reads += state.reads.load();
    memory += state.from_memory.load();
    tier += state.from_tier.load();
    store += state.from_store.load();
    writes += state.writes.load();
    invalidations += state.invalidations.load();
    late += state.late_invalidations.load();
    stale = std::max(stale, state.most_stale.load());
    stale_connected = std::max(stale_connected, state.most_stale_connected.load());
  }
  std::printf(
      "seed %llu: %llu reads (%llu from memory, %llu from Redis, %llu loads of the store), %llu "
      "writes, %llu invalidations (%llu late); most stale: %.1f ms, %.1f ms while cut off\n",
      static_cast<unsigned long long>(settings_.seed), static_cast<unsigned long long>(reads),
      static_cast<unsigned long long>(memory), static_cast<unsigned long long>(tier),
      static_cast<unsigned long long>(store), static_cast<unsigned long long>(writes),
      static_cast<unsigned long long>(invalidations), static_cast<unsigned long long>(late),
      static_cast<double>(stale_connected) / 1e6, static_cast<double>(stale) / 1e6);
}

}  // namespace larder::test
