package provider

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

var credentials = object{"client_id": "id", "client_secret": "secret"}

// What crypto/x509 silently skips is refused, by its number.
func TestDamagedCertificatesAreRefused(t *testing.T) {
	t.Parallel()
	one, two, three := newKeyPair(t, nil).certPEM, newKeyPair(t, nil).certPEM, newKeyPair(t, nil).certPEM
	notDER := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hello")}))
	for name, test := range map[string]struct {
		pem  string
		says string
	}{
		"a changed character":     {one + strings.Replace(two, "MII", "M!I", 1) + three, "certificate 2 is damaged"},
		"a missing line":          {one + two + withoutLine(three, 2), "certificate 3 is damaged"},
		"no end":                  {one + withoutLine(two, -1) + three, "certificate 2 is damaged"},
		"no beginning":            {withoutLine(one, 0) + two, "certificate 1 is damaged"},
		"cut off":                 {one + two[:len(two)/2], "certificate 2 is damaged"},
		"indented":                {"  " + strings.ReplaceAll(one, "\n", "\n  "), "indented"},
		"not a certificate":       {one + notDER, "certificate 2 is damaged"},
		"a damaged beginning":     {one + strings.Replace(two, "-----BEGIN", "----BEGIN", 1), "certificate 2 is damaged"},
		"a certificate of no use": {strings.ReplaceAll(one, " CERTIFICATE-", " X509 CRL-"), "no PEM certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newProtocol(t).configure(t, credentials.with(object{"ca_cert_pem": test.pem})).expectError(t, "ca_cert_pem", test.says)
			if test.says != "no PEM certificate" {
				client := newKeyPair(t, nil)
				newProtocol(t).configure(t, credentials.with(object{"client_cert_pem": test.pem, "client_key_pem": client.keyPEM})).
					expectError(t, "client_cert_pem", test.says)
			}
		})
	}
}

// withoutLine removes a line of a text; -1 is the last.
func withoutLine(text string, n int) string {
	lines := strings.SplitAfter(strings.TrimSpace(text)+"\n", "\n")
	lines = lines[:len(lines)-1] // what follows the last line end
	if n < 0 {
		n += len(lines)
	}
	return strings.Join(append(lines[:n:n], lines[n+1:]...), "")
}

// Texts around certificates, other blocks and byte order marks do no harm: the sandbox is trusted.
func TestCertificatesAmongOtherText(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, ylemtest.WithTLS(nil))
	ca, other := s.CertificatePEM(), newKeyPair(t, nil)
	for name, text := range map[string]string{
		"byte order mark":         "\ufeff" + ca,
		"joined files with marks": "\ufeff" + other.certPEM + "\ufeff" + ca,
		"comments":                "# our authority\nsubject=CN = Ylem\n" + ca + "# end\n",
		"Windows line ends":       strings.ReplaceAll(ca, "\n", "\r\n"),
		"a key before it":         other.keyPEM + ca,
		"the last of three":       other.certPEM + newKeyPair(t, nil).certPEM + ca,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.connect(t, object{"ca_cert_pem": text}).mustRead(t, lastRun, s.ran())
		})
	}
}

func TestClientCertificateWithByteOrderMarks(t *testing.T) {
	t.Parallel()
	authority := newKeyPair(t, nil)
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	s := newSandbox(t, ylemtest.WithTLS(pool))
	client := newKeyPair(t, authority)
	s.connect(t, object{
		"ca_cert_pem": s.CertificatePEM(), "client_cert_pem": "\ufeff" + client.certPEM + "\ufeff" + authority.certPEM, "client_key_pem": "\ufeff" + client.keyPEM,
	}).mustRead(t, lastRun, s.ran())
}

func TestEncryptedPrivateKey(t *testing.T) {
	t.Parallel()
	client := newKeyPair(t, nil)
	for name, block := range map[string]*pem.Block{
		"PKCS #8": {Type: "ENCRYPTED PRIVATE KEY", Bytes: bytes.Repeat([]byte("secret"), 20)},
		"OpenSSL": {
			Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
			Bytes: bytes.Repeat([]byte("secret"), 20),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arguments := credentials.with(object{"client_cert_pem": client.certPEM, "client_key_pem": string(pem.EncodeToMemory(block))})
			newProtocol(t).configure(t, arguments).expectError(t, "client_cert_pem", "key is encrypted", "openssl pkey -in")
		})
	}
}

func TestCertificatesThatAreNotValidNow(t *testing.T) {
	t.Parallel()
	good := newKeyPair(t, nil)
	expired := newKeyPair(t, nil, func(c *x509.Certificate) {
		c.Subject.CommonName, c.NotAfter = "old authority", time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	})
	future := newKeyPair(t, nil, func(c *x509.Certificate) { c.NotBefore = time.Date(2099, 2, 3, 4, 5, 6, 0, time.UTC) })
	for name, test := range map[string]struct {
		arguments object
		attribute string
		says      []string
	}{
		"authority":          {object{"ca_cert_pem": good.certPEM + expired.certPEM}, "ca_cert_pem", []string{"certificate 2 (CN=old authority) expired at 2001-02-03T04:05:06Z"}},
		"client certificate": {object{"client_cert_pem": expired.certPEM, "client_key_pem": expired.keyPEM}, "client_cert_pem", []string{"certificate 1", "expired at 2001-02-03T04:05:06Z"}},
		"not yet":            {object{"ca_cert_pem": future.certPEM}, "ca_cert_pem", []string{"certificate 1", "not valid before 2099-02-03T04:05:06Z", "clock"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newProtocol(t).configure(t, credentials.with(test.arguments)).expectWarning(t, test.attribute, test.says...)
		})
	}
}
