// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_CERTIFICATES_H_
#define LARDER_TESTS_SUPPORT_CERTIFICATES_H_

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace larder::test {

struct CertificateFiles {
  std::string certificate_file;
  std::string key_file;
};

struct CertificateOptions {
  // Whose it is, as OpenSSL writes it: "DNS:localhost,IP:127.0.0.1".
  std::string names = "DNS:localhost,IP:127.0.0.1";
  // How long it's valid from now on; negative: it has expired.
  absl::Duration validity = absl::Hours(24);
  // Encrypts the key if it isn't empty.
  std::string passphrase = {};
  // RSA's, in place of Ed25519's.
  bool rsa = false;
};

// One that vouches for servers and clients, with a key of its own. Aborts the process where OpenSSL
// or the file system fails.
class CertificateAuthority {
 public:
  // Files are written to `folder`, with names that begin with `name`.
  CertificateAuthority(std::string folder, std::string name);

  const std::string& ca_file() const { return ca_file_; }

  // A certificate and key, in files whose names begin with `name`; replaces what is there.
  CertificateFiles Issue(const std::string& name, const CertificateOptions& options = {}) const;

 private:
  struct KeyDeleter {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  struct CertificateDeleter {
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  using Key = std::unique_ptr<EVP_PKEY, KeyDeleter>;
  using Certificate = std::unique_ptr<X509, CertificateDeleter>;

  static Key MakeKey(bool rsa = false);
  // Signed by `issuer_key`, in the name of `issuer`; null: of itself.
  static Certificate Sign(const std::string& name, EVP_PKEY* key, X509* issuer,
                          EVP_PKEY* issuer_key, const CertificateOptions& options);
  static void Write(const std::string& path, X509* certificate);
  static void Write(const std::string& path, EVP_PKEY* key, const std::string& passphrase);

  const std::string folder_;
  const std::string ca_file_;
  const Key key_;
  const Certificate certificate_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_CERTIFICATES_H_
