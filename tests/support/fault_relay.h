// SPDX-License-Identifier: Apache-2.0
//
// FaultRelay: a network between Redis clients and their server that fails when told to.

#ifndef LARDER_TESTS_SUPPORT_FAULT_RELAY_H_
#define LARDER_TESTS_SUPPORT_FAULT_RELAY_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder::test {

// Which connections something is done to. Those that listen to changes are known by the SUBSCRIBE
// that their client sent.
enum class Relayed { kAll, kListening, kOthers };

struct FaultRelayOptions {
  // The server: its Unix socket, or else its port on 127.0.0.1.
  std::string target_socket = {};
  int target_port = 0;
  // Listen on a port of 127.0.0.1 rather than on a Unix socket.
  bool tcp = false;
};

struct RelayCommand;

// Passes on what comes, in a process of its own, until told otherwise. Each call returns once it is
// so. Connections to the server are made when clients come, so that it may be away.
//
// Only for processes that have one thread when they call Start. Not thread-safe. The relay ends
// with its parent.
class FaultRelay {
 public:
  static absl::StatusOr<std::unique_ptr<FaultRelay>> Start(const FaultRelayOptions& options);

  // Closes every connection.
  ~FaultRelay();

  FaultRelay(const FaultRelay&) = delete;
  FaultRelay& operator=(const FaultRelay&) = delete;

  // Where to connect to: empty, or 0, for the other kind.
  const std::string& unix_socket() const { return socket_; }
  int port() const { return port_; }

  // Every byte, in either direction, comes this much later.
  void Delay(absl::Duration one_way);

  // Nothing passes; connections stay open, and new ones come about and hang. Go() ends it, and what
  // was sent meanwhile arrives.
  void Stop(Relayed which = Relayed::kAll);
  void Go();

  // Closes connections. New ones may come.
  void Cut(Relayed which = Relayed::kAll);

  // From now on each connection is closed after 1 to `bytes` bytes of replies, at random, wherever
  // in a reply that is; the bytes before it arrive. 0: no longer.
  void CutReplies(uint64_t bytes);

  // From now on one byte of every n-th value is wrong, in replies of 64 bytes and more (shorter
  // ones have no room for a checksum), but not where changes are listened to. 0: no longer.
  void CorruptValues(uint64_t n);

  // From now on every n-th reply begins with a byte that no reply begins with. 0: no longer.
  void GarbleReplies(uint64_t n);

  // New connections are refused; those that are open stay.
  void Refuse(bool refuses);

  // New connections go there.
  void Retarget(const std::string& target_socket, int target_port);

 private:
  FaultRelay(pid_t pid, int control, std::string folder, std::string socket, int port);
  void Tell(const RelayCommand& command);

  const pid_t pid_;
  const int control_;
  const std::string folder_;
  const std::string socket_;
  const int port_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_FAULT_RELAY_H_
