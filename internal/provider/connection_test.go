package provider

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// forever is longer than any test waits.
const forever = time.Hour

// concurrently calls f n times at once and waits for all.
func concurrently(n int, f func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { f(i) })
	}
	group.Wait()
}

// testKeyPair is a certificate for TLS and its private key.
type testKeyPair struct {
	certPEM, keyPEM string
	certificate     *x509.Certificate
	key             *ecdsa.PrivateKey
}

// newKeyPair makes a client's certificate, signed by an authority, or an authority of its own.
func newKeyPair(t *testing.T, authority *testKeyPair, changes ...func(*x509.Certificate)) *testKeyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(7),
		Subject:               pkix.Name{CommonName: "terraform"},
		NotBefore:             time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, change := range changes {
		change(template)
	}
	parent, signer := template, key
	if authority == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		parent, signer = authority.certificate, authority.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &testKeyPair{
		certPEM:     string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		keyPEM:      string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
		certificate: certificate,
		key:         key,
	}
}

func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, ylemtest.WithTLS(nil))
	s.connect(t, object{"ca_cert_pem": s.CertificatePEM()}).mustRead(t, lastRun, s.ran())
}

func TestServersOfUnknownAuthoritiesAreRefused(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, ylemtest.WithTLS(nil))
	for name, arguments := range map[string]object{
		"none given":      nil,
		"another's given": {"ca_cert_pem": newKeyPair(t, nil).certPEM},
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := s.connect(t, arguments).read(t, lastRun, s.ran())
			diags.expectError(t, "", s.URL, "certificate signed by unknown authority", "ca_cert_pem")
		})
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests went to a server that is not to be trusted", n)
	}
}

func TestInsecureTrustsAnyServer(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, ylemtest.WithTLS(nil))
	s.connect(t, object{"insecure": true}).mustRead(t, lastRun, s.ran())
	_, diags := s.connect(t, object{"insecure": false}).read(t, lastRun, s.ran())
	diags.expectError(t, "", "certificate")
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	authority := newKeyPair(t, nil)
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	s := newSandbox(t, ylemtest.WithTLS(pool))
	ca := object{"ca_cert_pem": s.CertificatePEM()}

	client := newKeyPair(t, authority)
	s.connect(t, ca.with(object{"client_cert_pem": client.certPEM, "client_key_pem": client.keyPEM})).mustRead(t, lastRun, s.ran())

	s.ResetRequests()
	_, diags := s.connect(t, ca).read(t, lastRun, s.ran())
	diags.expectError(t, "", s.URL, "certificate required", "client_cert_pem")
	stranger := newKeyPair(t, newKeyPair(t, nil))
	_, diags = s.connect(t, ca.with(object{"client_cert_pem": stranger.certPEM, "client_key_pem": stranger.keyPEM})).read(t, lastRun, s.ran())
	diags.expectError(t, "", s.URL, "client_cert_pem")
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests without the right certificate", n)
	}
}

func TestTokenIsRenewedInTheMiddle(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	arguments := s.ran()
	p := s.connect(t, nil)
	p.mustRead(t, lastRun, arguments)
	s.ExpireTokens()
	p.mustRead(t, lastRun, arguments)
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 2, ylemtest.RouteLastRun: 3})()

	// A run request that was refused for its token was not looked at: it is safe to send again.
	s.ExpireTokens()
	s.ResetRequests()
	if _, diags := p.create(t, arguments); len(diags) > 0 {
		t.Fatal(diags)
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteRun: 2})()
	if runs := len(s.Runs("")); runs != 1 {
		t.Errorf("%d runs", runs)
	}

	// Many requests that meet the same dead token fetch one new one.
	s.ExpireTokens()
	s.ResetRequests()
	concurrently(30, func(int) {
		if _, diags := p.read(t, lastRun, s.ran()); len(diags) > 0 {
			t.Error(diags)
		}
	})
	if n := s.count(ylemtest.RouteToken); n != 1 {
		t.Errorf("%d tokens for one that expired", n)
	}
}

func TestTokenThatIsRefusedTwiceIsAnError(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	arguments := s.ran()
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteLastRun, Times: -1, Status: 401})
	_, diags := s.connect(t, nil).read(t, lastRun, arguments)
	diags.expectError(t, "pipeline_uuid", "refused the access token", "401 Unauthorized", "OAuth client", arguments["pipeline_uuid"].(string))
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 2, ylemtest.RouteLastRun: 2})()
}

// What is repeated, and how often, is decided by the client. Here: that max_retries reaches it.
func TestReadsAreRepeated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		arguments object
		times     int // that Ylem is not available; -1: always
		succeeds  bool
		reads     int
	}{
		"by default":  {nil, 4, true, 5},
		"not at all":  {object{"max_retries": 0}, -1, false, 1},
		"as asked to": {object{"max_retries": 2}, -1, false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.Inject(ylemtest.Fault{Route: ylemtest.RouteLastRun, Status: 503, Times: test.times})
			_, diags := s.connect(t, test.arguments).read(t, lastRun, s.ran())
			if diags.failed() == test.succeeds {
				t.Errorf("succeeds: %t:%s", !test.succeeds, diags)
			}
			s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteLastRun: test.reads})()
		})
	}
}

func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.Inject(ylemtest.Fault{Stall: forever, Times: -1})
	_, diags := s.connect(t, object{"request_timeout": "1s", "max_retries": 0}).read(t, lastRun, s.ran())
	diags.expectError(t, "", "No answer", "exceeded", "request_timeout")
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteLastRun: 0})()
}

// A canceled plan ends a read at once, however often it may be repeated.
func TestInterruptEndsARead(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	arguments := s.ran()
	g := newGate(t, s, http.MethodGet)
	p := s.connect(t, object{"api_url": g.url})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-g.arrived
		cancel()
	}()
	_, diags := p.readOnly(ctx, t, lastRun, arguments)
	diags.expectError(t, "pipeline_uuid", "Interrupted")
	if n := len(g.arrived); n != 0 {
		t.Errorf("sent %d times more", n)
	}
}

// gate stands before a sandbox and holds requests of one method back, but for those of tokens, to see how many
// come at once.
type gate struct {
	url     string
	release chan struct{}

	mu            sync.Mutex
	inFlight, max int
	arrived       chan struct{}
}

// asksForToken reports whether a request asks for a token.
func asksForToken(r *http.Request) bool { return r.URL.Path == "/v1/oauth/token" }

// proxyTo passes requests on to a sandbox.
func proxyTo(t *testing.T, s *sandbox) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {} // the client went away
	return proxy
}

func newGate(t *testing.T, s *sandbox, method string) *gate {
	t.Helper()
	g := &gate{release: make(chan struct{}), arrived: make(chan struct{}, 100)}
	proxy := proxyTo(t, s)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method && !asksForToken(r) {
			g.mu.Lock()
			g.inFlight++
			g.max = max(g.max, g.inFlight)
			g.mu.Unlock()
			g.arrived <- struct{}{}
			select {
			case <-g.release:
			case <-r.Context().Done():
			}
			g.mu.Lock()
			g.inFlight--
			g.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

func TestConcurrentRunsAreLimited(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		arguments object
		limit     int
	}{
		"default": {nil, 4},
		"one":     {object{"max_concurrent_runs": 1}, 1},
		"three":   {object{"max_concurrent_runs": 3}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			arguments := s.ran()
			g := newGate(t, s, http.MethodPost)
			p := s.connect(t, object{"api_url": g.url}.with(test.arguments))
			const runs = 10
			done := make(chan struct{})
			go func() {
				defer close(done)
				concurrently(runs, func(int) {
					if _, diags := p.create(t, arguments); len(diags) > 0 {
						t.Error(diags)
					}
				})
			}()
			// As many as allowed arrive, and while they are held back, reads still pass.
			for range test.limit {
				<-g.arrived
			}
			p.mustRead(t, lastRun, arguments)
			for range runs {
				g.release <- struct{}{}
			}
			<-done
			if g.max != test.limit {
				t.Errorf("%d run requests at once, want %d", g.max, test.limit)
			}
			if n := len(s.Runs("")); n != runs {
				t.Errorf("%d runs, want %d", n, runs)
			}
		})
	}
}

// testProxy is an HTTP proxy that refuses to connect anywhere, and remembers where to.
type testProxy struct {
	url   string
	mu    sync.Mutex
	hosts []string
}

func newProxy(t *testing.T) *testProxy {
	t.Helper()
	p := &testProxy{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.hosts = append(p.hosts, r.Host)
		p.mu.Unlock()
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *testProxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.hosts)
}
