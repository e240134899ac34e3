// SPDX-License-Identifier: Apache-2.0
//
// FaultRelayProcess: what a FaultRelay's process does.

#ifndef LARDER_TESTS_SUPPORT_FAULT_RELAY_PROCESS_H_
#define LARDER_TESTS_SUPPORT_FAULT_RELAY_PROCESS_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/fault_relay.h"
#include "tests/support/resp_scanner.h"

namespace larder::test {

// A Unix socket, or a port of 127.0.0.1.
struct RelayAddress {
  RelayAddress(std::string_view path, int port) {
    if (!path.empty()) {
      any.ss_family = AF_UNIX;
      auto* const at = reinterpret_cast<sockaddr_un*>(&any);
      path.copy(at->sun_path, sizeof(at->sun_path) - 1);
      size = sizeof(sockaddr_un);
    } else {
      any.ss_family = AF_INET;
      auto* const at = reinterpret_cast<sockaddr_in*>(&any);
      at->sin_port = htons(static_cast<uint16_t>(port));
      at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      size = sizeof(sockaddr_in);
    }
  }
  int NewSocket() const { return socket(any.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0); }
  // -1 where that can't be.
  int Listen() const {
    const int fd = NewSocket();
    // To be able to listen there again while connections are open.
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, get(), size) == 0 && listen(fd, 64) == 0) return fd;
    close(fd);
    return -1;
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&any); }

  sockaddr_storage any = {};
  socklen_t size = 0;
};

// What its parent tells it. It answers each with one byte.
struct RelayCommand {
  enum What { kDelay, kStop, kGo, kCut, kCutReplies, kCorrupt, kGarble, kRefuse, kRetarget };
  What what = kGo;
  Relayed which = Relayed::kAll;
  int64_t number = 0;  // nanoseconds, bytes, a port, ...
  char path[108] = {};
};

// What runs in the child.
class FaultRelayProcess {
 public:
  FaultRelayProcess(int control, int listener, std::string socket, int port,
                    const FaultRelayOptions& options)
      : control_(control),
        listener_(listener),
        socket_(std::move(socket)),
        port_(port),
        target_(options.target_socket, options.target_port) {}

  [[noreturn]] void Run();

 private:
  using Clock = std::chrono::steady_clock;
  struct Chunk {
    Clock::time_point due;
    std::string bytes;
  };
  // One of the two ways through a connection.
  struct Way {
    int from = -1;
    int to = -1;
    std::deque<Chunk> under_way = {};
    size_t size = 0;
  };
  struct Connection {
    Way up, down;  // to the server, and from it
    bool listens = false;
    bool is_over = false;
    std::string last_sent = {};  // where SUBSCRIBE may have begun
    uint64_t replies_left = 0;   // bytes until it is cut; 0: it isn't
    RespScanner scanner = {};
  };

  void Obey();
  bool Is(const Connection& connection, Relayed which) const {
    return which == Relayed::kAll || (which == Relayed::kListening) == connection.listens;
  }
  bool Stands(const Connection& connection) const {
    return is_stopped_ && Is(connection, stopped_);
  }
  void Accept();
  void DrawCut(Connection& connection) {
    connection.replies_left = cut_within_ == 0 ? 0 : 1 + random_() % cut_within_;
  }
  void Receive(Connection& connection, Way& way);
  void Spoil(Connection& connection, std::string& bytes);
  void Deliver(Connection& connection, Way& way);
  int Timeout() const;
  static void Close(Connection& connection) {
    if (connection.is_over) return;
    close(connection.up.from);
    close(connection.up.to);
    connection.is_over = true;
  }

  const int control_;
  int listener_;
  const std::string socket_;
  const int port_;
  RelayAddress target_;
  std::mt19937_64 random_{1};
  std::vector<std::unique_ptr<Connection>> connections_;

  Clock::duration delay_{0};
  bool is_stopped_ = false;
  Relayed stopped_ = Relayed::kAll;
  uint64_t cut_within_ = 0;
  uint64_t corrupt_every_ = 0;
  uint64_t garble_every_ = 0;
  uint64_t values_ = 0;
  uint64_t replies_ = 0;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_FAULT_RELAY_PROCESS_H_
