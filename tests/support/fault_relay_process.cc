// SPDX-License-Identifier: Apache-2.0

#include "tests/support/fault_relay_process.h"

#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace larder::test {
namespace {

// Past this the sender is made to wait, as a network would.
constexpr size_t kMostUnderWay = 1 << 20;

// -1 where nobody listens. On one machine that is known at once.
int ConnectTo(const RelayAddress& address) {
  const int fd = address.NewSocket();
  if (fd >= 0 && connect(fd, address.get(), address.size) == 0) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
  }
  close(fd);
  return -1;
}

}  // namespace

void FaultRelayProcess::Run() {
  std::vector<pollfd> polled;
  while (true) {
    polled.assign({{control_, POLLIN, 0}});
    // Who connects while all stands still hangs in the backlog.
    const bool accepts = !is_stopped_ || stopped_ != Relayed::kAll;
    polled.push_back({accepts ? listener_ : -1, POLLIN, 0});
    for (const auto& connection : connections_) {
      for (const Way* way : {&connection->up, &connection->down}) {
        const bool reads = !Stands(*connection) && way->size < kMostUnderWay;
        polled.push_back({reads ? way->from : -1, POLLIN, 0});
      }
    }
    if (poll(polled.data(), polled.size(), Timeout()) < 0 && errno != EINTR) _exit(1);
    const size_t count = connections_.size();
    for (size_t i = 0; i < count; ++i) {
      Connection& connection = *connections_[i];
      if (polled[2 + 2 * i].revents != 0) Receive(connection, connection.up);
      if (polled[3 + 2 * i].revents != 0) Receive(connection, connection.down);
    }
    if (polled[1].revents != 0) Accept();
    if (polled[0].revents != 0) Obey();
    for (const auto& connection : connections_) {
      Deliver(*connection, connection->up);
      Deliver(*connection, connection->down);
    }
    std::erase_if(connections_, [](const auto& connection) { return connection->is_over; });
  }
}

void FaultRelayProcess::Obey() {
  RelayCommand command;
  if (recv(control_, &command, sizeof(command), 0) != sizeof(command)) _exit(0);
  const auto number = static_cast<uint64_t>(command.number);
  switch (command.what) {
    case RelayCommand::kDelay:
      delay_ = std::chrono::nanoseconds(command.number);
      break;
    case RelayCommand::kStop:
      is_stopped_ = true;
      stopped_ = command.which;
      break;
    case RelayCommand::kGo:
      is_stopped_ = false;
      break;
    case RelayCommand::kCut:
      for (const auto& connection : connections_) {
        if (Is(*connection, command.which)) Close(*connection);
      }
      break;
    case RelayCommand::kCutReplies:
      cut_within_ = number;
      for (const auto& connection : connections_) DrawCut(*connection);
      break;
    case RelayCommand::kCorrupt:
      corrupt_every_ = number;
      break;
    case RelayCommand::kGarble:
      garble_every_ = number;
      break;
    case RelayCommand::kRefuse:
      if (number == 0 && listener_ < 0) listener_ = RelayAddress(socket_, port_).Listen();
      if (number != 0) {
        close(std::exchange(listener_, -1));
        if (port_ == 0) unlink(socket_.c_str());
      }
      break;
    case RelayCommand::kRetarget:
      target_ = RelayAddress(command.path, static_cast<int>(number));
      break;
  }
  if (send(control_, "", 1, MSG_NOSIGNAL) != 1) _exit(0);
}

void FaultRelayProcess::Accept() {
  const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = ConnectTo(target_);
  if (server < 0) {
    close(client);
    return;
  }
  const int on = 1;
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  auto connection = std::make_unique<Connection>();
  connection->up = {.from = client, .to = server};
  connection->down = {.from = server, .to = client};
  DrawCut(*connection);
  connections_.push_back(std::move(connection));
}

void FaultRelayProcess::Receive(Connection& connection, Way& way) {
  if (connection.is_over) return;
  char buffer[16 << 10];
  const ssize_t size = recv(way.from, buffer, sizeof(buffer), MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) {
    Close(connection);
    return;
  }
  std::string bytes(buffer, static_cast<size_t>(size));
  if (&way == &connection.up) {
    connection.last_sent += bytes;
    if (connection.last_sent.find("SUBSCRIBE") != std::string::npos) connection.listens = true;
    if (connection.last_sent.size() > 16) {
      connection.last_sent.erase(0, connection.last_sent.size() - 16);
    }
  } else {
    Spoil(connection, bytes);
  }
  way.size += bytes.size();
  way.under_way.push_back({Clock::now() + delay_, std::move(bytes)});
}

void FaultRelayProcess::Spoil(Connection& connection, std::string& bytes) {
  for (char& byte : bytes) {
    connection.scanner.Add(byte);
    if (connection.listens) continue;
    if (connection.scanner.begins_reply() && garble_every_ != 0 &&
        ++replies_ % garble_every_ == 0) {
      byte = '?';
    }
    if (connection.scanner.is_midst_of_value(64) && corrupt_every_ != 0 &&
        ++values_ % corrupt_every_ == 0) {
      byte = static_cast<char>(byte ^ (1 << random_() % 8));
    }
  }
}

void FaultRelayProcess::Deliver(Connection& connection, Way& way) {
  if (Stands(connection)) return;
  const Clock::time_point now = Clock::now();
  while (!connection.is_over && !way.under_way.empty() && way.under_way.front().due <= now) {
    std::string& bytes = way.under_way.front().bytes;
    const bool is_cut = &way == &connection.down && connection.replies_left != 0 &&
                        connection.replies_left <= bytes.size();
    const size_t wanted = is_cut ? connection.replies_left : bytes.size();
    const ssize_t sent = send(way.to, bytes.data(), wanted, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (sent < 0 || (is_cut && static_cast<size_t>(sent) == wanted)) {
      Close(connection);
      return;
    }
    if (&way == &connection.down && connection.replies_left != 0) {
      connection.replies_left -= static_cast<size_t>(sent);
    }
    way.size -= static_cast<size_t>(sent);
    bytes.erase(0, static_cast<size_t>(sent));
    if (!bytes.empty()) return;
    way.under_way.pop_front();
  }
}

// Milliseconds until something is to be delivered; -1: nothing is.
int FaultRelayProcess::Timeout() const {
  int64_t least = -1;
  for (const auto& connection : connections_) {
    if (Stands(*connection)) continue;
    for (const Way* way : {&connection->up, &connection->down}) {
      if (way->under_way.empty()) continue;
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          way->under_way.front().due - Clock::now());
      // Rounded up, and what a socket had no room for is tried again soon.
      const int64_t wait = std::max<int64_t>(left.count() + 1, 1);
      if (least < 0 || wait < least) least = wait;
    }
  }
  return static_cast<int>(least);
}

}  // namespace larder::test
