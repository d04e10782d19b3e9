package request_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

func TestParseBaseURL(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":                               request.DefaultBaseURL,
		"https://api.ylem.co":            "https://api.ylem.co",
		"https://api.ylem.co/":           "https://api.ylem.co",
		"https://api.ylem.co/v1":         "https://api.ylem.co",
		"https://api.ylem.co/v1/":        "https://api.ylem.co",
		"https://api.ylem.co//":          "https://api.ylem.co",
		"http://127.0.0.1:7339":          "http://127.0.0.1:7339",
		"http://[::1]:7339/v1":           "http://[::1]:7339",
		"HTTPS://Host/ylem/api/v1":       "https://Host/ylem/api",
		"https://host/v1/ylem":           "https://host/v1/ylem",
		"https://host/notv1":             "https://host/notv1",
		"https://host/with%20space/v1/":  "https://host/with%20space",
		"https://xn--bcher-kva.test/api": "https://xn--bcher-kva.test/api",
		"https://host/team%2Fa/ylem/v1/": "https://host/team%2Fa/ylem",
		"https://host/team%2fa/":         "https://host/team%2fa",
		"https://host/a%2F":              "https://host/a%2F",
	} {
		if got, err := request.ParseBaseURL(s); err != nil || got.String() != want {
			t.Errorf("%q is %v (%v), want %q", s, got, err, want)
		}
	}
	for _, s := range []string{
		"api.ylem.co", "//api.ylem.co", "ftp://api.ylem.co", "https://", "https:///v1", "http://:7339", "https:api.ylem.co",
		"https://user@host", "https://user:s3cret@host", "https://host?x=s3cret", "https://host/#s3cret", "https://host?",
		"https://host:port", "https://ho st", "://", "\x00", "https://user:s3cret\x00@host", "https://user:s3cret%zz@host",
		"https://user:s3cret/@host", "https://user:s3cret#@host",
	} {
		got, err := request.ParseBaseURL(s)
		if err == nil {
			t.Errorf("%q is accepted as %v", s, got)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the password of %q is seen in %q", s, err)
		}
	}
}

// What a person most likely meant is in the message.
func TestParseBaseURLSaysWhatToWrite(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"127.0.0.1:7339":             "as in http://127.0.0.1:7339",
		"127.0.0.1":                  "as in http://127.0.0.1",
		"localhost:8080/ylem/api_1":  "as in http://localhost:8080/ylem/api_1",
		"[::1]:7339":                 "as in http://[::1]:7339",
		"[2001:db8::1]":              "as in https://[2001:db8::1]",
		"ylem.example.com:7339":      "as in http://ylem.example.com:7339",
		"ylem.example.com:8443":      "as in https://ylem.example.com:8443",
		"ylem.example.com":           "as in https://ylem.example.com",
		"https://ylem.example.com\n": "begins or ends with white space",
		" https://ylem.example.com":  "begins or ends with white space",
		"127.0.0.1:7339\r\n":         "begins or ends with white space",
	} {
		if _, err := request.ParseBaseURL(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, cfg := range []request.Config{
		{}, {ClientID: "id"}, {ClientSecret: "secret"}, {ClientID: "id", ClientSecret: "secret", BaseURL: "api.ylem.co"},
	} {
		if _, err := ylem.New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	if _, err := request.New(request.Config{ClientID: "id", ClientSecret: "secret"}); err != nil {
		t.Error(err)
	}
}

// The certificate authority of the configuration is used, HTTP/2 is spoken but for runs, and the configuration is left as
// it was. Over HTTP/2, net/http repeats a POST whose stream the server resets.
func TestTLS(t *testing.T) {
	t.Parallel()
	f := fake.New(t, nil)
	var mu sync.Mutex
	protocols := map[string]bool{}
	f.API = func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		protocols[r.Method+" "+r.Proto] = true
		mu.Unlock()
		if r.Method == http.MethodPost {
			fake.Answer(http.StatusCreated, fake.StartedRun)(w, r)
			return
		}
		fake.AnswerJSON(fake.LastRun)(w, r)
	}
	server := httptest.NewUnstartedServer(f)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that fail below
	server.StartTLS()
	t.Cleanup(server.Close)

	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	shared := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	client := fake.NewClientAt(t, server.URL+fake.Prefix, func(cfg *request.Config) { cfg.TLS = shared })
	if err := fake.CallLastRun(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if _, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{}); err != nil {
		t.Fatal(err)
	}
	if !protocols["GET HTTP/2.0"] || !protocols["POST HTTP/1.1"] || len(protocols) != 2 {
		t.Errorf("spoke %v", protocols)
	}
	if len(shared.NextProtos) != 0 {
		t.Errorf("the configuration was changed: %v", shared.NextProtos)
	}

	t.Run("an unknown authority", func(t *testing.T) {
		t.Parallel()
		client := fake.NewClientAt(t, server.URL+fake.Prefix)
		for _, call := range fake.Calls {
			if e := fake.AsError(t, call(t.Context(), client, fake.PipelineUUID)); e.StatusCode != 0 || e.MaybeStarted || !strings.Contains(e.Error(), "certificate") {
				t.Errorf("error is %v", e)
			}
		}
	})
}

func FuzzParseBaseURL(f *testing.F) {
	for _, s := range []string{
		"", "https://api.ylem.co/v1/", "http://[::1]:7339", "https://host/with%20space/v1/", "https://user:s3cret@host", "https://host?x", "https://host#x",
		"//host", "https:host", "file:///etc/passwd", "https://host/../..", "https://host/%2e%2e/", "https://h\nost", "https://host/\x00", "https://[::1%25en0]/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := request.ParseBaseURL(s)
		if err != nil {
			return
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
			t.Errorf("%q is accepted as %q", s, u)
		}
		again, err := request.ParseBaseURL(u.String())
		if err != nil || again.Host != u.Host {
			t.Errorf("%q is %q, which is read as %v (%v)", s, u, again, err)
		}
	})
}
