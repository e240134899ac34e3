// SPDX-License-Identifier: Apache-2.0
#include "tests/support/scripted_server.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace larder::test {
namespace {

void DieUnless(bool fine, const char* what) {
  if (fine) return;
  std::perror(what);
  std::abort();
}

}  // namespace

std::string ScriptedConnection::Read() {
  char buffer[4096];
  const ssize_t length = recv(fd_, buffer, sizeof(buffer), 0);
  return std::string(buffer, length > 0 ? static_cast<size_t>(length) : 0);
}

bool ScriptedConnection::ReadUntil(std::string_view ending) {
  for (std::string all; !std::string_view(all).ends_with(ending);) {
    const std::string some = Read();
    if (some.empty()) return false;
    all += some;
  }
  return true;
}

bool ScriptedConnection::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void ScriptedConnection::HangUp() { shutdown(fd_, SHUT_RDWR); }

ScriptedServer::ScriptedServer(Script script, Connections connections)
    : script_(std::move(script)), mode_(connections), folder_("/tmp/larder-script-XXXXXX") {
  DieUnless(mkdtemp(folder_.data()) != nullptr, "mkdtemp");
  unix_socket_ = folder_ + "/server.sock";
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, unix_socket_.data(), unix_socket_.size());
  DieUnless(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0, "bind");
  DieUnless(listen(listener_, 16) == 0, "listen");
  acceptor_ = std::thread([this] { Accept(); });
}

ScriptedServer::~ScriptedServer() {
  {
    internal::MutexLock lock(&mutex_);
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
  }
  acceptor_.join();
  for (std::thread& serving : serving_) serving.join();
  close(listener_);
  unlink(unix_socket_.c_str());
  rmdir(folder_.c_str());
}

void ScriptedServer::Accept() {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    {
      internal::MutexLock lock(&mutex_);
      DieUnless(stopping_ || fd >= 0, "accept4");
      if (stopping_) {
        if (fd >= 0) close(fd);
        return;
      }
      open_.push_back(fd);
    }
    if (mode_ == Connections::kInTurn) {
      Serve(fd);
    } else {
      serving_.emplace_back([this, fd] { Serve(fd); });
    }
  }
}

void ScriptedServer::Serve(int fd) {
  ScriptedConnection connection(fd);
  script_(connections_.fetch_add(1), connection);
  internal::MutexLock lock(&mutex_);
  std::erase(open_, fd);
  close(fd);
}

}  // namespace larder::test
