package ylem

import (
	"context"
	"net/http"
	"time"
)

// What the tests of package ylem_test need from inside.
var (
	DecodeRun    = decodeRun
	DecodeLogs   = decodeLogs
	RepeatReads  = repeatReads
	RepeatTokens = repeatTokens
)

const (
	MaxMessage   = maxMessage
	MaxRetryWait = maxRetryWait
)

// BodyMessage is what is shown of an error's body that holds no secret.
func BodyMessage(body []byte) string { return Shorten(bodyMessage(body)) }

// RepeatRun is the policy for run requests, after an attempt that did or did not get a connection.
func RepeatRun(ctx context.Context, connected bool, resp *http.Response, err error) bool {
	ctx, attempt := withAttempt(ctx)
	attempt.connected.Store(connected)
	repeat, _ := repeatUnstartedRuns(ctx, resp, err)
	return repeat
}

// Backoff is the pause after the attempt of that number, counted from 0.
func Backoff(cfg Config, attempt int, resp *http.Response) time.Duration {
	c := newRetryClient(nil, cfg, nil)
	return c.Backoff(c.RetryWaitMin, c.RetryWaitMax, attempt, resp)
}

// SetTransport replaces what opens connections; everything above it stays.
func (c *Client) SetTransport(base http.RoundTripper) {
	c.reads.HTTPClient.Transport.(*transport).base = base
}
