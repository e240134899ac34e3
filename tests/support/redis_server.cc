// SPDX-License-Identifier: Apache-2.0
#include "tests/support/redis_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace larder::test {
namespace {

using std::chrono::steady_clock;

constexpr auto kStartLimit = std::chrono::seconds(20);
constexpr auto kStopLimit = std::chrono::seconds(5);
constexpr auto kLookAgain = std::chrono::milliseconds(2);
// Another process may take the port between our finding it free and the server's binding it.
constexpr int kPortAttempts = 5;

std::string ErrnoText() { return std::generic_category().message(errno); }

// A socket's path must fit into 108 bytes, which rules out long temporary folders such as a build
// tool's sandbox.
std::string TemporaryFolder() {
  std::error_code error;
  const std::string folder = std::filesystem::temp_directory_path(error).string();
  return error || folder.size() > 60 ? "/tmp" : folder;
}

// A port of 127.0.0.1 that is free right now; 0 if there is none.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  close(fd);
  return bound ? ntohs(address.sin_port) : 0;
}

// Whether a server at `path` answers PING: by PONG, or by asking for the password.
bool Answers(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const timeval limit = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  bool answers = false;
  constexpr std::string_view kPing = "PING\r\n";
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      send(fd, kPing.data(), kPing.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(kPing.size())) {
    char reply[64];
    const ssize_t length = recv(fd, reply, sizeof(reply), 0);
    const std::string_view text(reply, length > 0 ? static_cast<size_t>(length) : 0);
    answers = text.starts_with("+PONG") || text.starts_with("-NOAUTH");
  }
  close(fd);
  return answers;
}

// Replaces this freshly forked process by the server. Only async-signal-safe calls: other threads
// of the parent may have held any lock.
[[noreturn]] void RunServer(const char* program, char* const* arguments, int output, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it died before the line above
  // An interrupt from the terminal is the parent's to handle, which then stops us.
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execv(program, arguments);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::string> FindRedisServer() {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(std::string(path != nullptr ? path : "") +
                             ":/usr/bin:/usr/local/bin:/usr/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string program = folder + "/redis-server";
    if (!folder.empty() && access(program.c_str(), X_OK) == 0) return program;
  }
  return absl::NotFoundError("redis-server is not installed: nothing of that name on PATH");
}

RedisServer::RedisServer(std::string program, std::string folder, RedisServerOptions options)
    : program_(std::move(program)),
      folder_(std::move(folder)),
      options_(std::move(options)),
      unix_socket_(folder_ + "/redis.sock"),
      log_(folder_ + "/redis.log") {}

RedisServer::~RedisServer() {
  Stop();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

absl::StatusOr<std::unique_ptr<RedisServer>> RedisServer::Start(RedisServerOptions options) {
  absl::StatusOr<std::string> program = FindRedisServer();
  if (!program.ok()) return program.status();
  std::string folder = TemporaryFolder() + "/larder-redis-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    return absl::InternalError("can't make " + folder + ": " + ErrnoText());
  }
  const bool tcp = options.tcp;
  std::unique_ptr<RedisServer> server(
      new RedisServer(*std::move(program), std::move(folder), std::move(options)));
  absl::Status status;
  for (int attempt = 0; attempt < (tcp ? kPortAttempts : 1); ++attempt) {
    server->port_ = tcp ? FreePort() : 0;
    status = server->Launch();
    if (status.ok()) return server;
    server->Stop();
  }
  return status;
}

absl::Status RedisServer::Restart() {
  Stop();
  return Launch();
}

absl::Status RedisServer::Launch() {
  std::vector<std::string> words = {program_};
  if (!options_.configuration.empty()) {
    words.push_back(folder_ + "/redis.conf");
    std::ofstream(words.back()) << options_.configuration;
  }
  words.insert(words.end(), {"--bind", "127.0.0.1", "--unixsocket", unix_socket_,
                             "--unixsocketperm", "700", "--dir", folder_, "--save", "",
                             "--appendonly", "no", "--daemonize", "no", "--loglevel", "notice"});
  const bool tls = options_.tls.has_value();
  words.insert(words.end(), {"--port", tls ? "0" : std::to_string(port_)});
  if (tls) {
    words.insert(words.end(), {"--tls-port", std::to_string(port_), "--tls-cert-file",
                               options_.tls->certificate_file, "--tls-key-file",
                               options_.tls->key_file, "--tls-ca-cert-file", options_.tls->ca_file,
                               "--tls-auth-clients", options_.tls->asks_clients ? "yes" : "no"});
  }
  words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  const int output = open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (output < 0) return absl::InternalError("can't write " + log_ + ": " + ErrnoText());
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) RunServer(program_.c_str(), arguments.data(), output, parent);
  close(output);
  if (pid_ < 0) return absl::InternalError("can't start a process: " + ErrnoText());
  return WaitUntilItAnswers();
}

absl::Status RedisServer::WaitUntilItAnswers() {
  const steady_clock::time_point limit = steady_clock::now() + kStartLimit;
  while (!Answers(unix_socket_)) {
    if (Reap(WNOHANG)) return Failed("redis-server ended instead of serving");
    if (steady_clock::now() > limit) return Failed("redis-server does not answer");
    std::this_thread::sleep_for(kLookAgain);
  }
  return absl::OkStatus();
}

absl::Status RedisServer::Failed(const std::string& what) const {
  constexpr size_t kTail = 2000;
  std::ifstream file(log_);
  const std::string log((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return absl::InternalError(what + "; its log ends:\n" +
                             log.substr(log.size() > kTail ? log.size() - kTail : 0));
}

// Whether the process is gone. Takes its exit status, without which it would stay as a zombie.
bool RedisServer::Reap(int options) {
  if (pid_ < 0) return true;
  pid_t reaped;
  do {
    reaped = waitpid(pid_, nullptr, options);
  } while (reaped < 0 && errno == EINTR);
  if (reaped == 0) return false;
  pid_ = -1;
  paused_ = false;
  return true;
}

void RedisServer::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  Reap(0);
}

void RedisServer::Stop() {
  if (pid_ < 0) return;
  kill(pid_, SIGTERM);
  kill(pid_, SIGCONT);  // a paused server sees the former only now
  const steady_clock::time_point limit = steady_clock::now() + kStopLimit;
  while (!Reap(WNOHANG)) {
    if (steady_clock::now() > limit) return Kill();
    std::this_thread::sleep_for(kLookAgain);
  }
}

void RedisServer::Pause() {
  if (pid_ < 0 || paused_) return;
  kill(pid_, SIGSTOP);
  int status = 0;
  while (waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
  }
  paused_ = WIFSTOPPED(status);
  if (!paused_) pid_ = -1;  // it had ended by itself
}

void RedisServer::Resume() {
  if (pid_ < 0) return;
  kill(pid_, SIGCONT);
  paused_ = false;
}

}  // namespace larder::test
