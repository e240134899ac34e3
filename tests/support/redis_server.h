// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_REDIS_SERVER_H_
#define LARDER_TESTS_SUPPORT_REDIS_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace larder::test {

// The path of the redis-server program: the first on PATH, else in the usual folders. NotFound
// where there is none.
absl::StatusOr<std::string> FindRedisServer();

// What a server that speaks TLS shows, and wants to see; PEM files.
struct RedisServerTls {
  std::string certificate_file;
  std::string key_file;
  std::string ca_file;  // for its clients'
  bool asks_clients = false;
};

struct RedisServerOptions {
  // Listen on a free port of 127.0.0.1, too. The Unix socket is always there.
  bool tcp = false;
  // Speak TLS on that port.
  std::optional<RedisServerTls> tls = {};
  // More of redis-server's arguments, e.g. {"--requirepass", "secret"}.
  std::vector<std::string> arguments = {};
  // What is in a configuration file, which is read before the arguments, and which a Sentinel
  // ("--sentinel") needs. Empty: none.
  std::string configuration = {};
};

// A private, real redis-server: its own process, folder, socket and, if asked for, port; keeps
// nothing on disk. For tests and benchmarks.
//
// The server dies with the thread that called Start or Restart (the kernel's parent-death signal
// is the thread's, not the process's): call them from one that outlives the server, as main() does.
//
// Not thread-safe; the server itself may be used by anyone meanwhile.
class RedisServer {
 public:
  // Starts a server and waits until it answers. NotFound without redis-server; Internal, with the
  // end of its log, if it doesn't come up.
  static absl::StatusOr<std::unique_ptr<RedisServer>> Start(RedisServerOptions options = {});

  // Stops the server, by SIGTERM and, if need be, SIGKILL, and removes its folder.
  ~RedisServer();

  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  const std::string& unix_socket() const { return unix_socket_; }
  // 0 without RedisServerOptions::tcp.
  int port() const { return port_; }
  // -1 while it doesn't run.
  pid_t pid() const { return pid_; }

  // SIGKILL. Returns when the process is gone. Does nothing if it is already.
  void Kill();

  // SIGSTOP: connections stay open, and nothing is answered until Resume(). Returns when it stands.
  void Pause();
  void Resume();

  // Stops the server if it runs and starts an empty one at the same socket and port.
  absl::Status Restart();

 private:
  RedisServer(std::string program, std::string folder, RedisServerOptions options);

  absl::Status Launch();
  absl::Status WaitUntilItAnswers();
  absl::Status Failed(const std::string& what) const;
  void Stop();
  bool Reap(int options);

  const std::string program_;
  const std::string folder_;
  const RedisServerOptions options_;
  const std::string unix_socket_;
  const std::string log_;
  int port_ = 0;
  pid_t pid_ = -1;
  bool paused_ = false;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_REDIS_SERVER_H_
