package provider

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
)

func (m *providerModel) tlsConfig(diags *diag.Diagnostics) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: m.Insecure.ValueBool()}
	if text := m.CACertPEM.ValueString(); text != "" {
		certificates, err := certificatesFrom(text)
		if err != nil {
			diags.AddAttributeError(path.Root("ca_cert_pem"), "Invalid certificate", fmt.Sprintf("ca_cert_pem: %s.", err))
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		for _, certificate := range certificates {
			pool.AddCert(certificate)
		}
		cfg.RootCAs = pool
		warnOfDates("ca_cert_pem", certificates, diags)
	}
	if cert, key := m.ClientCertPEM.ValueString(), m.ClientKeyPEM.ValueString(); cert != "" || key != "" {
		pair, chain, err := keyPair(cert, key)
		if err != nil {
			diags.AddAttributeError(path.Root("client_cert_pem"), "Invalid client certificate", fmt.Sprintf(
				"client_cert_pem and client_key_pem must be a certificate and its private key, both PEM: %s.", err))
		}
		cfg.Certificates = []tls.Certificate{pair}
		warnOfDates("client_cert_pem", chain, diags)
	}
	return cfg
}

func keyPair(cert, key string) (tls.Certificate, []*x509.Certificate, error) {
	if cert == "" || key == "" {
		return tls.Certificate{}, nil, errors.New("one of them is empty")
	}
	key = withoutBOM(key)
	for rest := []byte(key); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.Contains(block.Type, "ENCRYPTED") || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return tls.Certificate{}, nil, errors.New("the private key is encrypted with a passphrase, which the provider cannot ask for. Decrypt it with " +
				"openssl pkey -in client.key -out decrypted.key, and keep that file safe")
		}
	}
	chain, err := certificatesFrom(cert)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pair, err := tls.X509KeyPair([]byte(withoutBOM(cert)), []byte(key))
	return pair, chain, err
}

var certificateMark = regexp.MustCompile(`-+(BEGIN|END) CERTIFICATE-+`)

// certificatesFrom parses all certificates of a PEM text. [x509.CertPool.AppendCertsFromPEM] silently skips what it cannot
// read, and why the server is not trusted is hard to find then.
func certificatesFrom(text string) (certificates []*x509.Certificate, err error) {
	text = withoutBOM(text)
	marks := certificateMark.FindAllStringSubmatchIndex(text, -1)
	for i := 0; i < len(marks); i += 2 {
		n := i/2 + 1
		var block *pem.Block
		if begin := marks[i]; i+1 < len(marks) && text[begin[2]:begin[3]] == "BEGIN" {
			block, _ = pem.Decode([]byte(text[begin[0]:marks[i+1][1]]))
		}
		if block == nil {
			return nil, fmt.Errorf("certificate %d is damaged: a part of its text is missing, changed or indented", n)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d is damaged (%w)", n, err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, errors.New("the value holds no PEM certificate, which begins with -----BEGIN CERTIFICATE-----. Read a file with file(\"ca.pem\")")
	}
	return certificates, nil
}

// withoutBOM removes the byte order marks that some editors begin a file with: several where files were joined.
func withoutBOM(text string) string { return strings.ReplaceAll(text, "\ufeff", "") }

// warnOfDates warns of certificates that are not valid now. It is no error: our clock may be wrong, and of several
// authorities another may be the one that counts.
func warnOfDates(attribute string, certificates []*x509.Certificate, diags *diag.Diagnostics) {
	now := time.Now()
	var invalid []string
	for i, certificate := range certificates {
		subject := cmp.Or(certificate.Subject.String(), "no subject")
		switch {
		case now.After(certificate.NotAfter):
			invalid = append(invalid, fmt.Sprintf("  certificate %d (%s) expired at %s", i+1, subject, formatTime(certificate.NotAfter)))
		case now.Before(certificate.NotBefore):
			invalid = append(invalid, fmt.Sprintf("  certificate %d (%s) is not valid before %s", i+1, subject, formatTime(certificate.NotBefore)))
		}
	}
	if len(invalid) > 0 {
		diags.AddAttributeWarning(path.Root(attribute), "A certificate is not valid now", fmt.Sprintf(
			"Of the certificates in %s:\n\n%s\n\nReplace it, and check this machine's clock.", attribute, strings.Join(invalid, "\n")))
	}
}
