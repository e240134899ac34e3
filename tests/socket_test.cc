// SPDX-License-Identifier: Apache-2.0
//
// Connecting and waiting, where hosts have several addresses, servers don't accept, and signals
// interrupt.
#include "src/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "src/deadline.h"
#include "src/host_lookup.h"
#include "tests/support/redis_terms.h"
#include "tests/support/temporary_directory.h"

namespace larder::internal {
namespace {

using test::ExpectError;
using test::kForever;

// Has a port of its own, or `path`, listens there, if it does, and accepts nobody.
class Listener {
 public:
  explicit Listener(bool listens = true) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    if (listens) {
      EXPECT_EQ(listen(fd_.get(), 0), 0);
    }
  }
  explicit Listener(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(fd_.get(), 0), 0);
  }

  int port() const { return port_; }

 private:
  ScopedFd fd_;
  int port_ = 0;
};

Deadline Soon() { return Deadline::After(absl::Milliseconds(200)); }
Deadline Never() { return Deadline::After(kForever); }

// Connects to a listener until it takes no more.
std::vector<ScopedFd> Fill(const std::function<absl::StatusOr<ScopedFd>()>& connect) {
  std::vector<ScopedFd> all;
  while (all.size() < 16) {
    absl::StatusOr<ScopedFd> fd = connect();
    if (!fd.ok()) {
      ExpectError(fd.status(), absl::StatusCode::kDeadlineExceeded, "nobody answered in time");
      return all;
    }
    all.push_back(*std::move(fd));
  }
  ADD_FAILURE() << "it takes any number";
  return all;
}

// A host with an address for each of `ports`.
HostLookup HostAt(std::vector<int> ports) {
  return HostLookup([ports](const std::string&, int) -> absl::StatusOr<HostAddresses> {
    struct Address {
      addrinfo info = {};
      sockaddr_in in = {};
    };
    auto all = std::make_shared<std::vector<Address>>(ports.size());
    for (size_t i = 0; i < ports.size(); ++i) {
      Address& each = (*all)[i];
      each.in.sin_family = AF_INET;
      each.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      each.in.sin_port = htons(static_cast<uint16_t>(ports[i]));
      each.info.ai_family = AF_INET;
      each.info.ai_addr = reinterpret_cast<sockaddr*>(&each.in);
      each.info.ai_addrlen = sizeof(each.in);
      each.info.ai_next = i + 1 < ports.size() ? &(*all)[i + 1].info : nullptr;
    }
    return HostAddresses(all, &all->front().info);
  });
}

int PeerPort(const ScopedFd& fd) {
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  EXPECT_EQ(getpeername(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

int Option(const ScopedFd& fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  EXPECT_EQ(getsockopt(fd.get(), level, name, &value, &size), 0);
  return value;
}

// Interrupts the thread that made it, all the time.
class Interruptions {
 public:
  Interruptions() {
    struct sigaction action = {};
    action.sa_handler = [](int) {};  // without SA_RESTART
    EXPECT_EQ(sigaction(SIGUSR1, &action, &before_), 0);
    thread_ = std::thread([this, target = pthread_self()] {
      while (!stop_) {
        pthread_kill(target, SIGUSR1);
        std::this_thread::yield();
      }
    });
  }
  ~Interruptions() {
    stop_ = true;
    thread_.join();
    sigaction(SIGUSR1, &before_, nullptr);
  }

 private:
  struct sigaction before_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST(SocketTest, AreNonBlockingAndNoChildHasThem) {
  const test::TemporaryDirectory folder("/tmp");  // for a short path
  const Listener tcp;
  const Listener local(folder / "s");
  const auto by_tcp = ConnectTcp("127.0.0.1", tcp.port(), Never());
  const auto by_path = ConnectUnix(folder / "s", Never());
  const auto event = MakeEventFd();
  for (const auto* fd : {&by_tcp, &by_path, &event}) {
    ASSERT_TRUE(fd->ok()) << fd->status();
    EXPECT_NE(fcntl((*fd)->get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(fcntl((*fd)->get(), F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_NE(Option(*by_tcp, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_NE(Option(*by_tcp, SOL_SOCKET, SO_KEEPALIVE), 0);
}

TEST(SocketTest, EveryAddressOfAHostIsTried) {
  const Listener first;
  const Listener second;
  const Listener deaf(/*listens=*/false);
  HostLookup host = HostAt({deaf.port(), first.port(), second.port()});
  const auto fd = ConnectTcp("cache-1", 1, Never(), host);
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_EQ(PeerPort(*fd), first.port());
}

TEST(SocketTest, AnAddressThatDoesNotAnswerLeavesTimeForTheNext) {
  const Listener full;
  const auto waiting = Fill([&] { return ConnectTcp("127.0.0.1", full.port(), Soon()); });
  const Listener second;
  HostLookup host = HostAt({full.port(), second.port()});
  const auto fd = ConnectTcp("cache-1", 1, Deadline::After(absl::Seconds(4)), host);
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_EQ(PeerPort(*fd), second.port());
}

TEST(SocketTest, AUnixSocketThatTakesNobodyRunsIntoTheDeadlineAlsoWithInterruptions) {
  const test::TemporaryDirectory folder("/tmp");  // for a short path
  const std::string path = folder / "s";
  const Listener full(path);
  const auto waiting = Fill([&] { return ConnectUnix(path, Soon()); });
  const Interruptions interruptions;
  const Deadline deadline = Soon();
  ExpectError(ConnectUnix(path, deadline).status(), absl::StatusCode::kDeadlineExceeded,
              "nobody answered in time");
  EXPECT_TRUE(deadline.Passed());
}

TEST(SocketTest, InterruptionsEndNoWait) {
  const auto event = MakeEventFd();
  ASSERT_TRUE(event.ok()) << event.status();
  const Interruptions interruptions;
  const Deadline deadline = Soon();
  EXPECT_EQ(PollUntil(event->get(), POLLIN, deadline), 0);
  EXPECT_TRUE(deadline.Passed());
}

}  // namespace
}  // namespace larder::internal
