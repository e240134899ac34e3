// SPDX-License-Identifier: Apache-2.0
#include "tests/support/redis_server.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/redis_cli.h"

namespace larder::test {
namespace {

using ::testing::HasSubstr;

bool IsRunning(pid_t pid) { return kill(pid, 0) == 0 || errno != ESRCH; }

TEST(RedisServerTest, ServesFromStartToEnd) {
  auto server = RedisServer::Start({.tcp = true});
  ASSERT_TRUE(server.ok()) << server.status();
  const pid_t pid = (*server)->pid();
  const std::string socket = (*server)->unix_socket();
  EXPECT_GT((*server)->port(), 0);
  auto cli = RedisCli::Connect(socket);
  ASSERT_TRUE(cli.ok()) << cli.status();
  EXPECT_EQ((*cli)->Run({"PING"}).value(), "PONG");
  EXPECT_EQ((*cli)->Run({"CONFIG", "GET", "bind"}).value(), "bind 127.0.0.1");
  server->reset();
  EXPECT_FALSE(IsRunning(pid));
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(socket).parent_path()));
}

TEST(RedisServerTest, TwoServersAreApart) {
  auto a = RedisServer::Start();
  auto b = RedisServer::Start();
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ((*a)->port(), 0);
  auto cli_a = RedisCli::Connect((*a)->unix_socket());
  auto cli_b = RedisCli::Connect((*b)->unix_socket());
  ASSERT_TRUE(cli_a.ok() && cli_b.ok());
  EXPECT_EQ((*cli_a)->Run({"SET", "k", "v"}).value(), "OK");
  EXPECT_EQ((*cli_b)->Run({"GET", "k"}).value(), "(nil)");
}

TEST(RedisServerTest, KillAndRestart) {
  auto server = RedisServer::Start({.tcp = true});
  ASSERT_TRUE(server.ok()) << server.status();
  const pid_t pid = (*server)->pid();
  const int port = (*server)->port();
  (*server)->Kill();
  (*server)->Kill();
  EXPECT_FALSE(IsRunning(pid));
  EXPECT_EQ((*server)->pid(), -1);
  EXPECT_FALSE(RedisCli::Connect((*server)->unix_socket()).ok());
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ((*server)->Restart(), absl::OkStatus());
    EXPECT_EQ((*server)->port(), port);
    EXPECT_TRUE(RedisCli::Connect((*server)->unix_socket()).ok());
  }
}

TEST(RedisServerTest, APausedServerCanBeStopped) {
  auto server = RedisServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  const pid_t pid = (*server)->pid();
  (*server)->Pause();
  (*server)->Pause();
  (*server)->Resume();
  auto cli = RedisCli::Connect((*server)->unix_socket());
  ASSERT_TRUE(cli.ok()) << cli.status();
  EXPECT_EQ((*cli)->Run({"PING"}).value(), "PONG");
  (*server)->Pause();
  server->reset();
  EXPECT_FALSE(IsRunning(pid));
}

TEST(RedisServerTest, DiesWithItsParent) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    auto server = RedisServer::Start();
    const std::string socket = server.ok() ? (*server)->unix_socket() : "";
    if (write(ends[1], socket.data(), socket.size()) <= 0) _exit(1);
    raise(SIGKILL);
  }
  close(ends[1]);
  char buffer[200];
  const ssize_t length = read(ends[0], buffer, sizeof(buffer));
  close(ends[0]);
  waitpid(parent, nullptr, 0);
  ASSERT_GT(length, 0);
  const std::string socket(buffer, static_cast<size_t>(length));
  while (RedisCli::Connect(socket).ok()) std::this_thread::yield();
  std::filesystem::remove_all(std::filesystem::path(socket).parent_path());
}

TEST(RedisServerTest, AServerThatDoesNotStartTellsWhy) {
  const auto server = RedisServer::Start({.arguments = {"--no-such-setting", "1"}});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("no-such-setting"));
}

}  // namespace
}  // namespace larder::test
