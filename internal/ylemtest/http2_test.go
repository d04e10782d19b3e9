package ylemtest

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
)

// protocolClient speaks the given protocols only.
func protocolClient(t *testing.T, s *Server, speak func(*http.Protocols), alpn ...string) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), NextProtos: alpn}
	config.RootCAs.AppendCertsFromPEM([]byte(s.CertificatePEM()))
	transport := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols)}
	speak(transport.Protocols)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestHTTP2Only(t *testing.T) {
	t.Parallel()
	http1 := func(p *http.Protocols) { p.SetHTTP1(true) }
	http2 := func(p *http.Protocols) { p.SetHTTP2(true) }
	both := func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }
	const frames = `malformed HTTP response "\x00\x00`
	for _, test := range []struct {
		name    string
		options []Option
		speak   func(*http.Protocols)
		alpn    []string
		refused string // part of the error; "" = none
	}{
		{"HTTP/2", []Option{WithTLS(nil)}, http2, nil, ""},
		{"both", []Option{WithTLS(nil)}, both, nil, ""},
		{"HTTP/1.1", []Option{WithTLS(nil)}, http1, nil, frames},
		{"HTTP/1.1 by name", []Option{WithTLS(nil)}, http1, []string{"http/1.1"}, frames},
		{"strict, HTTP/2", []Option{WithTLS(nil), WithStrictALPN()}, http2, nil, ""},
		{"strict, both", []Option{WithTLS(nil), WithStrictALPN()}, both, nil, ""},
		{"strict, HTTP/1.1 by name", []Option{WithTLS(nil), WithStrictALPN()}, http1, []string{"http/1.1"}, "no application protocol"},
		{"in clear text, HTTP/2", nil, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, nil, ""},
		{"in clear text, HTTP/1.1", nil, http1, nil, frames},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := NewServer(append(test.options, WithHTTP2Only())...)
			t.Cleanup(s.Close)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/pipelines/"+id("a")+"/runs/", strings.NewReader(strings.Repeat("x", 60_000)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer unknown")
			r := send(protocolClient(t, s, test.speak, test.alpn...), request)
			if test.refused != "" {
				if r.err == nil || !strings.Contains(r.err.Error(), test.refused) || s.Requests() != nil {
					t.Errorf("%+v, %v, requests %v", r, r.err, s.Requests())
				}
				return
			}
			if logged := s.Requests(); r.status != 401 || len(logged) != 1 || logged[0].Proto != "HTTP/2.0" {
				t.Errorf("%+v, requests %+v", r, logged)
			}
		})
	}
}
