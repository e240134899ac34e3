// SPDX-License-Identifier: Apache-2.0
//
// CoherenceCheck: servers in processes of their own that share a Redis and a store, and the check
// that what they read isn't older than it may be.

#ifndef LARDER_TESTS_SUPPORT_COHERENCE_CHECK_H_
#define LARDER_TESTS_SUPPORT_COHERENCE_CHECK_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/coherence_shared.h"
#include "tests/support/fault_relay.h"
#include "tests/support/redis_cli.h"
#include "tests/support/redis_server.h"

namespace larder::test {

// To be used from the only thread of the test's process, which forks. Each server reaches Redis
// through a relay of its own.
//
// The life of a check: Start, traffic (Run), which goes on while faults are made, Recover when they
// are over, traffic again, and Quiesce. Whatever a server finds wrong fails the gtest case.
class CoherenceCheck {
 public:
  static constexpr int kServers = CoherenceShared::kServers;

  // What a server's process does; doesn't return.
  using Serve = void (*)(CoherenceShared& shared, int server, const CoherenceSettings& settings,
                         const CoherenceAddress& address);

  // Starts Redis, relays and servers, and waits until all are up.
  CoherenceCheck(const CoherenceSettings& settings, Serve serve);

  // Ends all, and prints how much was read from where, and how stale.
  ~CoherenceCheck();

  CoherenceCheck(const CoherenceCheck&) = delete;
  CoherenceCheck& operator=(const CoherenceCheck&) = delete;

  // Traffic, in all servers, for that long.
  void Run(absl::Duration time);

  // From now on until Recover servers may be cut off: all of them, or only some; `alone`: this one.
  enum class CutOff { kAll, kSome };
  void Expect(CutOff cut_off, int alone = -1);

  // Waits, while traffic goes on, until every server is up and no write is left that the tier
  // wasn't told of. From then on all are expected to be connected.
  void Recover();

  // Stops writes, and has every thread of every server read every key until it is the newest, for
  // as long as the bound is.
  void Quiesce();

  // What was found wrong, so far, in the words of the servers; for tests of the check. Once taken
  // it doesn't fail the case.
  std::vector<std::string> TakeProblems();

  RedisServer& redis() { return *redis_; }
  FaultRelay& relay(int server) { return *relays_[static_cast<size_t>(server)]; }
  CoherenceShared& shared() { return *shared_; }

  // A command to Redis, past the relays. Its reply; empty where Redis is away or said no.
  std::string Redis(std::initializer_list<std::string_view> words);

  // Waits until the server's process is gone, and starts another one in its place.
  void ReplaceServer(int server);

 private:
  void StartServer(int server);
  void Tell(CoherencePhase phase);
  bool AllAreUp() const;
  void WaitUntilUp();
  void EndServer(int server);
  void Report() const;

  const CoherenceSettings settings_;
  const Serve serve_;
  CoherenceShared* shared_ = nullptr;
  std::unique_ptr<RedisServer> redis_;
  std::vector<std::unique_ptr<FaultRelay>> relays_;
  std::vector<pid_t> pids_;
  uint64_t orders_ = 0;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_COHERENCE_CHECK_H_
