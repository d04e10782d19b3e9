package ylemtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"time"
)

// CertificatePEM is the certificate of a server made WithTLS, self-signed and
// thus also the authority to trust. It is empty without TLS.
func (s *Server) CertificatePEM() string {
	if s.certificate == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate}))
}

func (s *Server) tlsConfig() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "ylemtest"},
		// Wide, because tests may live in another year than the machine.
		NotBefore:             time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		DNSNames:              []string{"localhost"},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	s.certificate, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{s.certificate}, PrivateKey: key}},
	}
	if s.clientCAs != nil {
		config.ClientCAs = s.clientCAs
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if s.http2Only {
		config.GetConfigForClient = s.onlyHTTP2
	}
	return config
}

// onlyHTTP2 negotiates HTTP/2 with those that offer it, and with others
// nothing or, where the server is strict, no connection.
func (s *Server) onlyHTTP2(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	config := s.http.TLSConfig.Clone()
	config.GetConfigForClient = nil
	switch {
	case slices.Contains(hello.SupportedProtos, "h2"):
		config.NextProtos = []string{"h2"}
	case s.strictALPN:
		// Not "h2": crypto/tls lets a client that offers "http/1.1" pass then.
		config.NextProtos = []string{"none of them"}
	default:
		config.NextProtos = nil
	}
	return config, nil
}

// answerInHTTP2 is what a server that knows only HTTP/2 says to anything else:
// its settings, and that it goes away because of a protocol error.
func answerInHTTP2(w http.ResponseWriter, r *http.Request) {
	// Else the connection would be reset, and the client perhaps not see the frames.
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
		"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x01"))
	_ = conn.Close()
}

// resetConnection lets the client's next look at its connection fail with ECONNRESET, where the protocol allows that.
func resetConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if plain, ok := conn.(*net.TCPConn); ok {
		reset(plain)
	}
	_ = conn.Close()
}
