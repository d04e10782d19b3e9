package request

import (
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// startIdleTimeout is how long a connection may have been idle to start a run. Balancers and firewalls drop idle
	// connections without a word, and a run request sent over such a one leaves doubt.
	startIdleTimeout = time.Second

	// maxPing bounds how long a connection over HTTP/2 is silent before it is probed, and how long the probe may take.
	maxPing = 5 * time.Second
)

// newTransports returns what sends reads and token requests, and what sends run requests.
//
// Runs are started over HTTP/1.1: over HTTP/2, net/http resends a POST whose stream the server resets with
// PROTOCOL_ERROR, and does not report it.
func newTransports(cfg Config, clock *serverClock, logger *slog.Logger) (reads, starts http.RoundTripper) {
	wrap := func(base http.RoundTripper) http.RoundTripper {
		return &transport{base: base, userAgent: cfg.UserAgent, headers: cfg.Headers, clock: clock, logger: logger}
	}
	if cfg.Transport != nil {
		return wrap(cfg.Transport), wrap(cfg.Transport)
	}
	anyProtocol := newTransport(cfg)
	anyProtocol.Protocols.SetHTTP2(true)
	// Over HTTP/2 all requests share a connection, and one that a firewall has forgotten fails no write.
	ping := maxPing
	if cfg.RequestTimeout > 0 {
		ping = min(ping, cfg.RequestTimeout/4)
	}
	anyProtocol.HTTP2 = &http.HTTP2Config{SendPingTimeout: ping, PingTimeout: ping, MaxReceiveBufferPerStream: 1 << 20}

	http1Only := newTransport(cfg)
	http1Only.IdleConnTimeout = startIdleTimeout
	return wrap(anyProtocol), wrap(http1Only)
}

func newTransport(cfg Config) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.MaxResponseHeaderBytes = maxHeader
	t.TLSClientConfig = cfg.TLS.Clone() // net/http changes it
	t.MaxIdleConnsPerHost = 64          // for terraform -parallelism=50
	if cfg.Dial != nil {
		t.DialContext = cfg.Dial
	}
	return t
}

// transport is the innermost layer: it sends what every request carries, keeps time with the server, and logs.
type transport struct {
	base      http.RoundTripper
	userAgent string
	headers   map[string]string
	clock     *serverClock
	logger    *slog.Logger
}

// statusError is a 1xx or invalid status as the final response.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("unexpected status %d", int(e)) }

// serverClock is the server's clock, as its answers' Date headers show it, to the second and never ahead.
type serverClock struct {
	skew  atomic.Int64 // minus ours, in nanoseconds
	known atomic.Bool
}

func (c *serverClock) at(local time.Time) time.Time {
	return local.Add(time.Duration(c.skew.Load())).UTC()
}

// locationNotFollowed is the header that Location is renamed to.
const locationNotFollowed = "Location-Not-Followed"

// RoundTrip sends one attempt.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Accept", "application/json")
	if t.userAgent != "" {
		req.Header.Set("User-Agent", t.userAgent)
	}
	for name, value := range t.headers {
		req.Header.Set(name, value)
	}

	sent := time.Now()
	resp, err := t.base.RoundTrip(req)
	took := time.Since(sent)
	attrs := []slog.Attr{
		slog.String("method", req.Method),
		slog.String("path", req.URL.EscapedPath()),
		slog.Int64("duration_ms", took.Milliseconds()),
	}
	if err != nil {
		t.logger.LogAttrs(req.Context(), slog.LevelDebug, "Ylem request failed", attrs...)
		return nil, err
	}
	if resp.StatusCode < 200 {
		// 101 hands over a connection that no timeout ends, and less is not a status.
		_ = resp.Body.Close()
		return nil, statusError(resp.StatusCode)
	}
	// A redirect would carry the token to another host, or repeat a run request. Without this header, net/http neither
	// follows it nor fails on one that is not a URL.
	if location, ok := resp.Header["Location"]; ok {
		delete(resp.Header, "Location")
		resp.Header[locationNotFollowed] = location
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		t.clock.skew.Store(int64(date.Sub(sent.Add(took))))
		t.clock.known.Store(true)
	}
	t.logger.LogAttrs(req.Context(), slog.LevelDebug, "Ylem request", append(attrs, slog.Int("status", resp.StatusCode))...)
	return resp, nil
}
