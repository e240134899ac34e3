// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TLS_OPTIONS_H_
#define LARDER_TLS_OPTIONS_H_

#include <string>

#include "absl/status/status.h"

namespace larder {

// How a connection is made TLS (1.2 or 1.3), and who may be at its other end. Files are PEM; they
// are read for each new connection, so what is renewed there is used without a restart. All else is
// as the system has configured OpenSSL.
struct TlsOptions {
  // Certificates of the authorities that may vouch for the server. Empty: the system's, or what
  // SSL_CERT_FILE and SSL_CERT_DIR name in the environment; they are so many that reading them
  // takes tens of milliseconds.
  std::string ca_file = {};

  // For servers that want to know who asks: our certificate, with those between it and the
  // authority after it, and its private key, without a passphrase. Both or neither. A server that
  // doesn't accept it breaks the connection, as a rule saying why.
  std::string certificate_file = {};
  std::string key_file = {};

  // The host name or IP address for which the server must have a certificate. Empty: the one that
  // is connected to.
  std::string server_name = {};

  // Off: whoever answers is the server. What is sent is hidden from those who listen only.
  bool verify_server = true;

  // OK if the files can be used, else InvalidArgument that names the field, its value and why.
  absl::Status Validate() const;
};

}  // namespace larder

#endif  // LARDER_TLS_OPTIONS_H_
