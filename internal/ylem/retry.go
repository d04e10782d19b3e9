package ylem

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// maxRetryWait bounds every pause, also one that the server asks for with Retry-After.
const maxRetryWait = time.Minute

func newRetryClient(client *http.Client, cfg Config, policy retryablehttp.CheckRetry) *retryablehttp.Client {
	wait := cfg.RetryWait
	if wait == 0 {
		wait = 500 * time.Millisecond
	}
	return &retryablehttp.Client{
		HTTPClient:   client,
		RetryMax:     cfg.MaxRetries,
		RetryWaitMin: wait,
		RetryWaitMax: maxRetryWait,
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			repeat, err := policy(ctx, resp, err)
			return repeat && spare(ctx), err
		},
		Backoff: func(low, high time.Duration, attempt int, resp *http.Response) time.Duration {
			if pause := retryablehttp.DefaultBackoff(low, high, attempt, resp); 0 <= pause && pause <= high {
				return pause
			}
			return high // a huge Retry-After overflows
		},
		// The last answer is the one to report, not that the attempts are used up.
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// A call that sends several requests, because a token was refused or an answer broke off, has the repeats of one.
type repeatsKey struct{}

// withRepeats returns a context that allows so many repeats in all.
func withRepeats(ctx context.Context, n int) context.Context {
	left := new(atomic.Int64)
	left.Store(int64(n))
	return context.WithValue(ctx, repeatsKey{}, left)
}

// spare uses up a repeat, and reports whether there was one left.
func spare(ctx context.Context) bool { return ctx.Value(repeatsKey{}).(*atomic.Int64).Add(-1) >= 0 }

// repeatReads repeats what did not reach Ylem or what Ylem could not answer: connection errors, 429 and 5xx
// (the gateway answers 500 for a service that is down).
func repeatReads(ctx context.Context, resp *http.Response, err error) (bool, error) {
	return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
}

// repeatTokens is repeatReads, except that a 500 is asked about only once more: it is also Ylem's answer to a client
// ID that it does not know.
func repeatTokens(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if resp != nil && resp.StatusCode == http.StatusInternalServerError {
		failed := ctx.Value(tokenFailedKey{}).(*atomic.Bool)
		return !failed.Swap(true) && ctx.Err() == nil, nil
	}
	return repeatReads(ctx, resp, err)
}

// tokenFailedKey is the context's key of whether a 500 has been the answer to the token request before.
type tokenFailedKey struct{}

// untilWhole calls ask, and again after a pause as long as that reports that the answer broke off after its status: then
// the retry client is already done with it. All that ask sends has the repeats of one call.
func untilWhole(ctx context.Context, client *retryablehttp.Client, ask func(context.Context) (brokeOff bool)) {
	ctx = withRepeats(ctx, client.RetryMax)
	for attempt := 0; ask(ctx) && spare(ctx); attempt++ {
		select {
		case <-time.After(client.Backoff(client.RetryWaitMin, client.RetryWaitMax, attempt, nil)):
		case <-ctx.Done():
			return
		}
	}
}

func brokeOff(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.brokeOff
}

// attempt records how far the last attempt of a run request got.
type attempt struct {
	caller    context.Context           // of the one who wants the run
	connected atomic.Bool               // and not answered
	sent      atomic.Pointer[time.Time] // when it was connected, by our clock
}

type attemptKey struct{}

// withAttempt returns a context that watches the attempts made under it, and that does not end with ctx.
func withAttempt(ctx context.Context) (context.Context, *attempt) {
	a := &attempt{caller: ctx}
	ctx = context.WithValue(context.WithoutCancel(ctx), attemptKey{}, a)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Over HTTP/1.1, net/http looks for another connection only where it wrote nothing to the last one.
		GetConn: func(string) { a.connected.Store(false) },
		GotConn: func(httptrace.GotConnInfo) {
			now := time.Now()
			a.sent.Store(&now)
			a.connected.Store(true)
		},
	}), a
}

// repeatUnstartedRuns repeats a run request only where it surely started nothing: no connection could be made,
// or Ylem put it off with 429, or with 503 and Retry-After.
func repeatUnstartedRuns(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	a := ctx.Value(attemptKey{}).(*attempt)
	wanted := a.caller.Err() == nil
	if err != nil {
		if a.connected.Load() || !wanted {
			return false, nil
		}
		return retryablehttp.DefaultRetryPolicy(ctx, nil, err)
	}
	if resp.StatusCode/100 != 2 { // else the body with the run's UUID is still on its way
		a.connected.Store(false)
	}
	return wanted && putOff(resp.StatusCode, resp.Header), nil
}

// maybeStarted reports whether a run may have been started in spite of an answer. Ylem refuses with 400, 401, 403
// and 404 before it starts one; a proxy that gave up waiting (408, 460, 499) and a conflict (409) say nothing, and 303
// says that something was done.
func maybeStarted(status int, header http.Header) bool {
	switch status {
	case http.StatusSeeOther, http.StatusRequestTimeout, http.StatusConflict, 460, 499:
		return true
	default:
		return status >= 500 && !putOff(status, header)
	}
}

// putOff reports whether the server asked for the request to be sent again later.
func putOff(status int, header http.Header) bool {
	return status == http.StatusTooManyRequests ||
		status == http.StatusServiceUnavailable && header.Get("Retry-After") != ""
}

// notFollowed is the header that Location is renamed to.
const notFollowed = "Location-Not-Followed"

// transport is the innermost layer: it sends what every request carries, keeps time with the server, and logs.
type transport struct {
	base      http.RoundTripper
	userAgent string
	headers   map[string]string
	skew      *atomic.Int64
	logger    *slog.Logger
}

// maxHeader bounds the headers of an answer, in bytes.
const maxHeader = 256 << 10

func newTransport(cfg Config, protocols *http.Protocols, skew *atomic.Int64, logger *slog.Logger) http.RoundTripper {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.Protocols = protocols
	base.MaxResponseHeaderBytes = maxHeader
	base.TLSClientConfig = cfg.TLS.Clone() // net/http changes it
	base.MaxIdleConnsPerHost = 64          // terraform -parallelism=50 keeps that many at work
	return &transport{base: base, userAgent: cfg.UserAgent, headers: cfg.Headers, skew: skew, logger: logger}
}

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
		// 101 hands over a connection that no timeout ends, and less is no status at all.
		_ = resp.Body.Close()
		return nil, fmt.Errorf("the answer has the status %d, which is none", resp.StatusCode)
	}
	// A redirect would carry the token to another host, or repeat a run request: without this header nobody follows it,
	// and nobody stumbles over one that is no URL.
	if location, ok := resp.Header["Location"]; ok {
		delete(resp.Header, "Location")
		resp.Header[notFollowed] = location
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		t.skew.Store(int64(date.Sub(sent.Add(took))))
	}
	t.logger.LogAttrs(req.Context(), slog.LevelDebug, "Ylem request", append(attrs, slog.Int("status", resp.StatusCode))...)
	return resp, nil
}
