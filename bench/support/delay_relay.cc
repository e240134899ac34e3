// SPDX-License-Identifier: Apache-2.0

#include "bench/support/delay_relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace larder::bench {
namespace {

using Clock = std::chrono::steady_clock;

absl::Status SystemError(std::string_view call) {
  return absl::UnavailableError(
      absl::StrCat("relay: ", std::string(call), ": ", std::strerror(errno)));
}

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Small requests must not wait for one another's acknowledgement.
void SendAtOnce(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

Descriptor ConnectTo(int port) {
  Descriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(port);
  if (!fd.valid() ||
      connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Descriptor();
  }
  SendAtOnce(fd.get());
  return fd;
}

}  // namespace

// Everything the relay's thread works on. Only Stop() may be called from another thread.
class DelayRelay::Loop {
 public:
  Loop(int target_port, absl::Duration one_way)
      : target_port_(target_port), one_way_(absl::ToChronoNanoseconds(one_way)) {}

  // Listens, and returns the port.
  absl::StatusOr<int> Open();
  void Run();
  void Stop();

 private:
  // One end of a relayed connection.
  struct End {
    Descriptor fd;
    int peer = -1;
    uint64_t id = 0;      // tells this connection from a later one with the same descriptor
    std::string backlog;  // due bytes that the socket did not take yet
  };
  struct Chunk {
    Clock::time_point due;
    int to;
    uint64_t id;
    std::string bytes;
  };

  bool Watch(int fd, uint32_t events, int operation = EPOLL_CTL_ADD);
  void Accept();
  void Receive(int fd);
  void DeliverDue();
  void Send(int fd, std::string_view bytes);
  void Close(int fd);
  void ArmTimer();

  const int target_port_;
  const Clock::duration one_way_;
  Descriptor epoll_;
  Descriptor listener_;
  Descriptor timer_;
  Descriptor stop_;
  std::unordered_map<int, End> ends_;
  // All chunks are delayed equally, so the order of arrival is the order in which they are due.
  std::deque<Chunk> under_way_;
  uint64_t last_id_ = 0;
};

absl::StatusOr<int> DelayRelay::Loop::Open() {
  epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  timer_ = Descriptor(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  stop_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  listener_ = Descriptor(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!epoll_.valid() || !timer_.valid() || !stop_.valid() || !listener_.valid()) {
    return SystemError("open descriptors");
  }
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  auto* const raw_address = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener_.get(), raw_address, size) != 0) return SystemError("bind");
  if (listen(listener_.get(), SOMAXCONN) != 0) return SystemError("listen");
  if (getsockname(listener_.get(), raw_address, &size) != 0) return SystemError("getsockname");
  for (const int fd : {timer_.get(), stop_.get(), listener_.get()}) {
    if (!Watch(fd, EPOLLIN)) return SystemError("epoll_ctl");
  }
  return ntohs(address.sin_port);
}

void DelayRelay::Loop::Run() {
  // By default the kernel may be 50 us late with a timer, to save wake-ups; that is 10% of a trip.
  prctl(PR_SET_TIMERSLACK, 1);
  std::array<epoll_event, 64> events;
  while (true) {
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    if (count < 0 && errno != EINTR) return;
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<size_t>(i)].data.fd;
      if (fd == stop_.get()) return;
      if (fd == listener_.get()) {
        Accept();
      } else if (fd == timer_.get()) {
        uint64_t expirations;
        while (read(fd, &expirations, sizeof(expirations)) > 0) {
        }
      } else if ((events[static_cast<size_t>(i)].events & EPOLLOUT) != 0) {
        Send(fd, {});
      } else {
        Receive(fd);
      }
    }
    DeliverDue();
    ArmTimer();
  }
}

void DelayRelay::Loop::Stop() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof(one));
}

bool DelayRelay::Loop::Watch(int fd, uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

void DelayRelay::Loop::Accept() {
  while (true) {
    Descriptor client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.valid()) return;
    Descriptor server = ConnectTo(target_port_);
    if (!server.valid()) continue;
    SendAtOnce(client.get());
    const int client_fd = client.get();
    const int server_fd = server.get();
    if (!Watch(client_fd, EPOLLIN) || !Watch(server_fd, EPOLLIN)) continue;
    ends_[client_fd] = {std::move(client), server_fd, ++last_id_, {}};
    ends_[server_fd] = {std::move(server), client_fd, ++last_id_, {}};
  }
}

void DelayRelay::Loop::Receive(int fd) {
  const auto end = ends_.find(fd);
  if (end == ends_.end()) return;
  char buffer[64 << 10];
  const ssize_t size = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
  if (size > 0) {
    const int to = end->second.peer;
    under_way_.push_back({Clock::now() + one_way_, to, ends_.at(to).id,
                          std::string(buffer, static_cast<size_t>(size))});
  } else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
    Close(fd);
  }
}

void DelayRelay::Loop::DeliverDue() {
  while (!under_way_.empty() && under_way_.front().due <= Clock::now()) {
    const Chunk chunk = std::move(under_way_.front());
    under_way_.pop_front();
    const auto end = ends_.find(chunk.to);
    if (end != ends_.end() && end->second.id == chunk.id) Send(chunk.to, chunk.bytes);
  }
}

// Sends the backlog and then `bytes`; what the socket does not take becomes the backlog.
void DelayRelay::Loop::Send(int fd, std::string_view bytes) {
  const auto end = ends_.find(fd);
  if (end == ends_.end()) return;
  std::string& backlog = end->second.backlog;
  const bool waited = !backlog.empty();
  if (waited) {
    backlog.append(bytes);
    bytes = backlog;
  }
  const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    Close(fd);
    return;
  }
  backlog = std::string(bytes.substr(sent < 0 ? 0 : static_cast<size_t>(sent)));
  if (waited != !backlog.empty()) {
    Watch(fd, backlog.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }
}

void DelayRelay::Loop::Close(int fd) {
  const auto end = ends_.find(fd);
  if (end == ends_.end()) return;
  const int peer = end->second.peer;
  ends_.erase(end);
  ends_.erase(peer);
}

void DelayRelay::Loop::ArmTimer() {
  itimerspec when{};
  if (!under_way_.empty()) {
    const auto due = std::chrono::duration_cast<std::chrono::nanoseconds>(
        under_way_.front().due.time_since_epoch());
    when.it_value.tv_sec = static_cast<time_t>(due.count() / 1'000'000'000);
    when.it_value.tv_nsec = static_cast<long>(due.count() % 1'000'000'000);
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

DelayRelay::DelayRelay(std::unique_ptr<Loop> loop, int port)
    : loop_(std::move(loop)), port_(port), thread_([this] { loop_->Run(); }) {}

DelayRelay::~DelayRelay() {
  loop_->Stop();
  thread_.join();
}

absl::StatusOr<std::unique_ptr<DelayRelay>> DelayRelay::Start(int target_port,
                                                              absl::Duration one_way) {
  auto loop = std::make_unique<Loop>(target_port, one_way);
  const absl::StatusOr<int> port = loop->Open();
  if (!port.ok()) return port.status();
  return std::unique_ptr<DelayRelay>(new DelayRelay(std::move(loop), *port));
}

}  // namespace larder::bench
