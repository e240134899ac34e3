// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_SCRIPTED_SERVER_H_
#define LARDER_TESTS_SUPPORT_SCRIPTED_SERVER_H_

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "larder/internal/mutex.h"

namespace larder::test {

// One connection as its server sees it. All calls block.
class ScriptedConnection {
 public:
  explicit ScriptedConnection(int fd) : fd_(fd) {}

  // Reads whatever comes first. Empty when the other side closed.
  std::string Read();
  // Reads until the bytes read end with `ending`. False when the other side closed before.
  bool ReadUntil(std::string_view ending);
  // False when the other side closed.
  bool Write(std::string_view bytes);
  // The other side finds the end when this returns.
  void HangUp();

 private:
  const int fd_;
};

// A server on a Unix socket that behaves as badly as a test wants: for the ways a real one can't be
// brought to misbehave. Connections are served by `script`, which is told the connection's number,
// from 0, and whose return closes it.
class ScriptedServer {
 public:
  using Script = std::function<void(int number, ScriptedConnection& connection)>;
  enum class Connections {
    kInTurn,  // a connection is served when the one before is closed
    kAtOnce,  // each by a thread of its own
  };

  // Listens when the constructor returns. Aborts the process if that isn't possible.
  explicit ScriptedServer(Script script, Connections connections = Connections::kInTurn);
  // Closes all and waits for the script to end; its reads and writes fail from now on.
  ~ScriptedServer();

  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  const std::string& unix_socket() const { return unix_socket_; }
  // Connections accepted until now.
  int connections() const { return connections_.load(); }

 private:
  void Accept();
  void Serve(int fd);

  const Script script_;
  const Connections mode_;
  std::string folder_;
  std::string unix_socket_;
  int listener_ = -1;
  std::atomic<int> connections_{0};
  internal::Mutex mutex_;
  std::vector<int> open_ ABSL_GUARDED_BY(mutex_);  // connections being served
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> serving_;  // the acceptor's
  std::thread acceptor_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_SCRIPTED_SERVER_H_
