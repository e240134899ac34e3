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

ScriptedServer::ScriptedServer(Script script)
    : script_(std::move(script)), folder_("/tmp/larder-script-XXXXXX") {
  DieUnless(mkdtemp(folder_.data()) != nullptr, "mkdtemp");
  unix_socket_ = folder_ + "/server.sock";
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, unix_socket_.data(), unix_socket_.size());
  DieUnless(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0, "bind");
  DieUnless(listen(listener_, 16) == 0, "listen");
  thread_ = std::thread([this] { Serve(); });
}

ScriptedServer::~ScriptedServer() {
  {
    internal::MutexLock lock(&mutex_);
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    if (current_ >= 0) shutdown(current_, SHUT_RDWR);
  }
  thread_.join();
  close(listener_);
  unlink(unix_socket_.c_str());
  rmdir(folder_.c_str());
}

int ScriptedServer::Accept() {
  const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  internal::MutexLock lock(&mutex_);
  if (!stopping_ && fd >= 0) return current_ = fd;
  DieUnless(stopping_, "accept4");
  if (fd >= 0) close(fd);
  return -1;
}

void ScriptedServer::Serve() {
  for (int fd = Accept(); fd >= 0; fd = Accept()) {
    ScriptedConnection connection(fd);
    script_(connections_.fetch_add(1), connection);
    internal::MutexLock lock(&mutex_);
    current_ = -1;
    close(fd);
  }
}

}  // namespace larder::test
