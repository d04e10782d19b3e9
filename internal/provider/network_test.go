package provider

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// What networks, proxies and fronts between the provider and Ylem do to connections.

// behind puts a network in front of the sandbox, and returns the arguments of a provider beyond it.
func (s *sandbox) behind(t *testing.T) (*ylemtest.Proxy, object) {
	t.Helper()
	proxy := ylemtest.NewProxy(s.URL)
	t.Cleanup(proxy.Close)
	arguments := object{"api_url": proxy.URL}
	if ca := s.CertificatePEM(); ca != "" {
		arguments["ca_cert_pem"] = ca
	}
	return proxy, arguments
}

// A firewall forgets a connection over HTTP/2, which all requests share: its packets vanish, and new connections work. The
// provider notices, whatever it is doing.
func TestForgottenConnections(t *testing.T) {
	t.Parallel()
	t.Run("a wait", func(t *testing.T) {
		t.Parallel()
		clock := &ylemtest.Clock{}
		s := newSandbox(t, ylemtest.WithTLS(nil), ylemtest.WithHTTP2(), ylemtest.WithClock(clock.Now))
		p := s.slow()
		proxy, arguments := s.behind(t)
		go func() {
			if !happens(func() bool { return s.count(ylemtest.RouteLogs) >= 2 }) {
				t.Error("the log is not polled")
			}
			proxy.Forget()
			clock.Advance(2 * time.Hour)
		}()
		state, diags := s.connect(t, arguments.with(object{"request_timeout": "4s"})).create(t, object{
			"pipeline_uuid": p, "wait_for_completion": true, "timeouts": object{"create": "40s"},
			"completion": object{"poll_interval": "100ms", "final_task_uuids": s.tasks(p)},
		})
		if len(diags) > 0 || state["status"] != "succeeded" {
			t.Errorf("%v%s", state["status"], diags)
		}
		for _, r := range s.Requests(ylemtest.RouteLogs) {
			if r.Proto != "HTTP/2.0" {
				t.Errorf("the log is read over %s: the test proves nothing", r.Proto)
			}
		}
	})
	t.Run("a data source", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, ylemtest.WithTLS(nil), ylemtest.WithHTTP2())
		proxy, arguments := s.behind(t)
		pipeline := s.ran()
		p := s.connect(t, arguments.with(object{"request_timeout": "4s"}))
		p.mustRead(t, lastRun, pipeline)
		proxy.Forget()
		p.mustRead(t, lastRun, pipeline)
		s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteLastRun: 2})()
	})
	t.Run("a token", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, ylemtest.WithTLS(nil), ylemtest.WithHTTP2(), ylemtest.WithTokenLifetime(5*time.Second)) // too short to be used twice
		proxy, arguments := s.behind(t)
		pipeline := s.ran()
		p := s.connect(t, arguments.with(object{"request_timeout": "4s"}))
		p.mustRead(t, lastRun, pipeline)
		proxy.Forget()
		p.mustRead(t, lastRun, pipeline)
		s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 2, ylemtest.RouteLastRun: 2})()
	})
}

// A load balancer resets connections that were idle for a few seconds. A run request over such a one would leave doubt,
// although it never reached Ylem.
func TestConnectionsThatWereIdleStartNoRun(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	proxy, arguments := s.behind(t)
	pipeline := s.ran()
	p := s.connect(t, arguments)
	if _, diags := p.create(t, pipeline); len(diags) > 0 {
		t.Fatal(diags)
	}
	// Not to be slept through: the provider closes the connection of the start, and keeps that of the token.
	for deadline := time.Now().Add(10 * time.Second); proxy.Open() > 1 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	proxy.Expire()
	if _, diags := p.create(t, pipeline); len(diags) > 0 {
		t.Error(diags)
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 2})()
}

// Behind a front that speaks only HTTP/2, reads work. Runs are started over HTTP/1.1, so none is, and the error says why.
func TestFrontsThatSpeakOnlyHTTP2(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]ylemtest.Option{
		"answers in HTTP/2":     {ylemtest.WithTLS(nil), ylemtest.WithHTTP2Only()},
		"refuses the handshake": {ylemtest.WithTLS(nil), ylemtest.WithHTTP2Only(), ylemtest.WithStrictALPN()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, options...)
			pipeline := s.ran()
			p := s.connect(t, object{"ca_cert_pem": s.CertificatePEM()})
			p.mustRead(t, lastRun, pipeline)
			connections := s.Connections()
			state, diags := p.create(t, pipeline)
			diags.expectError(t, "pipeline_uuid", "speaks only HTTP/2", "HTTP/1.1", "No run of pipeline "+pipeline["pipeline_uuid"].(string)+" was started")
			if state != nil || strings.Contains(diags.String(), "may have been started") {
				t.Errorf("%v%s", state, diags)
			}
			if n := s.Connections() - connections; n != 1 {
				t.Errorf("%d attempts to connect, want 1", n)
			}
		})
	}
}

// https to a port that serves plain http fails at once, and the error says what to write.
func TestTLSToAPlainPort(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.ran()
	secure := object{"api_url": "https" + strings.TrimPrefix(s.URL, "http")}
	_, diags := s.connect(t, secure).read(t, lastRun, pipeline)
	diags.expectError(t, "", "does not speak TLS", "http://", "api_url")
	_, diags = s.connect(t, secure).create(t, pipeline)
	diags.expectError(t, "", "does not speak TLS", "http://", "No run of pipeline ", " was started")
	if n := s.Connections(); n != 2 {
		t.Errorf("%d connections, want one for each", n)
	}
}

func TestExpiredServerCertificate(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*x509.Certificate){
		"expired":       func(c *x509.Certificate) { c.NotAfter = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC) },
		"not valid yet": func(c *x509.Certificate) { c.NotBefore = time.Date(2099, 2, 3, 4, 5, 6, 0, time.UTC) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			authority := newKeyPair(t, nil)
			pair := newKeyPair(t, authority, func(c *x509.Certificate) {
				c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
			}, change)
			certificate, err := tls.X509KeyPair([]byte(pair.certPEM), []byte(pair.keyPEM))
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshake fails
			server.StartTLS()
			t.Cleanup(server.Close)
			p := newProtocol(t)
			if diags := p.configure(t, credentials.with(object{"api_url": server.URL, "ca_cert_pem": authority.certPEM, "max_retries": 0})); len(diags) > 0 {
				t.Fatal(diags)
			}
			_, diags := p.read(t, lastRun, object{"pipeline_uuid": ylemtest.NewUUID()})
			diags.expectError(t, "", "Ylem's certificate has expired", "Renew the server's certificate", "clock")
			if strings.Contains(diags.String(), "Set ca_cert_pem") {
				t.Errorf("blames the authority:%s", diags)
			}
		})
	}
}

// 407 comes from the proxy, not from Ylem, with and without TLS.
func TestAccProxyThatWantsAPassword(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(proxy.Close)
	for _, scheme := range []string{"http", "https"} {
		tf := newTerraform(t, `
provider "ylem" {
  api_url       = "`+scheme+`://ylem.example.com"
  client_id     = "id"
  client_secret = "secret"
}
resource "ylem_pipeline_run" "test" { pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c" }
`, "HTTP_PROXY="+proxy.URL, "HTTPS_PROXY="+proxy.URL)
		_, stderr, code := tf.run(t, "apply", "-auto-approve", "-no-color")
		for _, want := range []string{"The proxy refuses the request", "HTTPS_PROXY or HTTP_PROXY", "http://USER:PASSWORD@HOST:PORT", "No run of pipeline"} {
			if code != 1 || !loosely(want).MatchString(stderr) {
				t.Errorf("%s: exit code %d, no %q: %s", scheme, code, want, stderr)
			}
		}
	}
}

// An escaped slash in the address stays one: a front that names a team in one segment finds it.
func TestAddressWithAnEscapedSlash(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, ylemtest.WithPathPrefix("/team%2Fa/ylem"))
	for _, suffix := range []string{"", "/", "/v1", "/v1/"} {
		pipeline := s.ran()
		p := s.connect(t, object{"api_url": s.URL + suffix})
		p.mustRead(t, lastRun, pipeline)
		p.mustRead(t, "ylem_pipeline_logs", pipeline.with(object{"lookback": "1h"}))
		if _, diags := p.create(t, pipeline); len(diags) > 0 {
			t.Error(diags)
		}
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteOther: 0, ylemtest.RouteToken: 4, ylemtest.RouteRun: 4})()
}
