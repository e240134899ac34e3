// SPDX-License-Identifier: Apache-2.0
//
// TlsStream with others that don't know TLS, and through others that change what passes.
#include "src/tls_stream.h"

#include <poll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "tests/support/certificates.h"
#include "tests/support/redis_server.h"
#include "tests/support/redis_terms.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temporary_directory.h"

namespace larder::internal {
namespace {

using test::ExpectError;
using test::kLong;
using test::kShort;
using test::ScriptedConnection;
using test::ScriptedServer;

absl::StatusOr<std::unique_ptr<Stream>> Connect(const ScriptedServer& server,
                                                const TlsOptions& options,
                                                absl::Duration timeout = kLong) {
  absl::StatusOr<ScopedFd> fd = ConnectUnix(server.unix_socket(), Deadline::After(kLong));
  if (!fd.ok()) return fd.status();
  return TlsStream::Connect(*std::move(fd), options, "localhost", Deadline::After(timeout));
}

// Whose authorities needn't be read.
const TlsOptions kAnybody = {.verify_server = false};

TEST(TlsStreamTest, ASilentServerRunsIntoTheDeadline) {
  const ScriptedServer server([](int, ScriptedConnection& connection) {
    while (!connection.Read().empty()) {
    }
  });
  ExpectError(Connect(server, kAnybody, kShort).status(), absl::StatusCode::kDeadlineExceeded,
              "TLS");
}

TEST(TlsStreamTest, AServerThatDripsGetsNoLonger) {
  const ScriptedServer server([](int, ScriptedConnection& connection) {
    // A record of 16 KiB, of which each byte takes its time.
    connection.Write(std::string_view("\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb", 9));
    while (connection.Write(std::string_view("\0", 1))) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  ExpectError(Connect(server, kAnybody, kShort).status(), absl::StatusCode::kDeadlineExceeded,
              "TLS");
}

TEST(TlsStreamTest, AServerThatHangsUpIsUnavailable) {
  const ScriptedServer server([](int, ScriptedConnection& connection) { connection.Read(); });
  ExpectError(Connect(server, kAnybody).status(), absl::StatusCode::kUnavailable,
              "the server closed it");
}

TEST(TlsStreamTest, AServerWithoutTlsIsUnavailable) {
  const ScriptedServer server([](int, ScriptedConnection& connection) {
    connection.Read();
    connection.Write("-ERR unknown command\r\n");
  });
  ExpectError(Connect(server, kAnybody).status(), absl::StatusCode::kUnavailable, "no agreement");
}

TEST(TlsStreamTest, TheServerIsAskedForByNameButNotByAddress) {
  for (const std::string name : {"cache-1.example", "127.0.0.1"}) {
    std::string hello;
    {
      const ScriptedServer server(
          [&](int, ScriptedConnection& connection) { hello = connection.Read(); });
      TlsOptions options = kAnybody;
      options.server_name = name;
      EXPECT_FALSE(Connect(server, options).ok());
    }
    EXPECT_FALSE(hello.empty());
    EXPECT_EQ(hello.find(name) != hello.npos, name == "cache-1.example") << name;
  }
}

// Between us and a real server, a man who may change or withhold what the server says.
class TlsThroughOthers : public ::testing::Test {
 protected:
  enum class Does { kNothing, kChange, kCut };

  TlsThroughOthers() : authority_(folder_.path(), "authority") {}

  void SetUp() override {
    const test::CertificateFiles files = authority_.Issue("server");
    auto server = test::RedisServer::Start(
        {.tcp = true,
         .tls =
             test::RedisServerTls{files.certificate_file, files.key_file, authority_.ca_file()}});
    ASSERT_TRUE(server.ok()) << server.status();
    redis_ = *std::move(server);
    relay_ = std::make_unique<ScriptedServer>(
        [this](int, ScriptedConnection& connection) { Relay(connection); });
    auto stream = Connect(*relay_, {.ca_file = authority_.ca_file()});
    ASSERT_TRUE(stream.ok()) << stream.status();
    stream_ = *std::move(stream);
  }
  void TearDown() override {
    stream_.reset();
    relay_.reset();
  }

  void Relay(ScriptedConnection& client) {
    absl::StatusOr<ScopedFd> fd = ConnectTcp("127.0.0.1", redis_->port(), Deadline::After(kLong));
    ASSERT_TRUE(fd.ok()) << fd.status();
    Stream server(*std::move(fd));
    std::thread requests([&] {
      for (std::string piece = client.Read(); !piece.empty(); piece = client.Read()) {
        EXPECT_EQ(server.SendOne(piece).value(), piece.size());
      }
      server.ShutDownSending();
    });
    std::array<char, Stream::kReceiveBytes> buffer;
    while (true) {
      PollUntil(server.fd(), POLLIN, Deadline::After(kLong));
      const auto size = server.Receive(absl::MakeSpan(buffer));
      if (!size.ok()) break;
      std::string piece(buffer.data(), *size);
      const Does does = does_;
      if (does == Does::kChange) piece.back() ^= 1;
      if (does == Does::kCut) piece.pop_back();
      if (!client.Write(piece) || does == Does::kCut) break;
    }
    client.HangUp();
    requests.join();
  }

  // Sends `request` and returns `size` bytes of what is answered, or the error in their place.
  std::string Ask(std::string request, size_t size) {
    const auto sent = stream_->SendOne(request);
    if (!sent.ok()) return sent.status().ToString();
    EXPECT_EQ(*sent, request.size());
    std::string answer;
    std::array<char, Stream::kReceiveBytes> buffer;
    while (answer.size() < size) {
      const auto received = stream_->Receive(absl::MakeSpan(buffer));
      if (!received.ok()) return received.status().ToString();
      answer.append(buffer.data(), *received);
      if (*received == 0) PollUntil(stream_->fd(), POLLIN, Deadline::After(kLong));
    }
    return answer;
  }

  test::TemporaryDirectory folder_;
  const test::CertificateAuthority authority_;
  std::unique_ptr<test::RedisServer> redis_;
  std::atomic<Does> does_{Does::kNothing};
  std::unique_ptr<ScriptedServer> relay_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(TlsThroughOthers, WhatWasChangedUnderWayIsNeverReceived) {
  EXPECT_EQ(Ask("PING\r\n", 7), "+PONG\r\n");
  does_ = Does::kChange;
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Ask("PING\r\n", 7), "UNAVAILABLE: decryption failed or bad record mac");
  }
}

TEST_F(TlsThroughOthers, NorIsTheBeginningOfWhatWasCutOff) {
  EXPECT_EQ(Ask("PING\r\n", 7), "+PONG\r\n");
  does_ = Does::kCut;
  EXPECT_EQ(Ask("PING\r\n", 7), "UNAVAILABLE: the server closed it");
}

// A server's tickets come after the handshake, without anybody asking.
TEST_F(TlsThroughOthers, TicketsAreNotStaleButAnswersAndTheEndAre) {
  ASSERT_NE(PollUntil(stream_->fd(), POLLIN, Deadline::After(kLong)), 0);
  EXPECT_FALSE(stream_->IsStale());
  EXPECT_EQ(Ask("PING\r\n", 7), "+PONG\r\n");
  EXPECT_FALSE(stream_->IsStale());
  ASSERT_TRUE(stream_->SendOne("PING\r\n").ok());
  ASSERT_NE(PollUntil(stream_->fd(), POLLIN, Deadline::After(kLong)), 0);
  EXPECT_TRUE(stream_->IsStale());
  EXPECT_EQ(Ask("", 7), "+PONG\r\n");
  EXPECT_FALSE(stream_->IsStale());
  relay_.reset();
  EXPECT_TRUE(stream_->IsStale());
}

}  // namespace
}  // namespace larder::internal
