package ylem

import (
	"context"
	"io"
	"iter"
	"net/http"
	"sync/atomic"
	"time"
)

// What the tests of package ylem_test need from inside.
var (
	DecodeRun   = decodeRun
	RepeatReads = repeatReads
)

const (
	MaxMessage   = maxMessage
	MaxBody      = maxBody
	MaxRow       = maxRow
	MaxRetryWait = maxRetryWait
)

// DecodeLogs decodes a log whose rows may have so many bytes.
func DecodeLogs(body io.Reader, limit int) iter.Seq2[LogRow, error] { return decodeLogs(body, limit) }

// FillLog is what the runs of a pipeline hold of a log, or why they do not.
func FillLog(rows iter.Seq2[LogRow, error]) (runs int, err error) {
	l := logAnswer{rows: map[string][]LogRow{}}
	l.fill(rows)
	return len(l.rows), l.err
}

// BodyMessage is what is shown of an error's body that holds no secret.
func BodyMessage(body []byte) string { return Shorten(bodyMessage(body)) }

// Redact takes one secret out of a text.
func Redact(text, secret string) string { return redact(text, []string{secret}) }

// Remembered is how many tokens the client still knows, access and refresh tokens together.
func Remembered(c *Client) int { return len(c.tokens.issuedTokens()) }

// RepeatRun is the policy for run requests, after an attempt that did or did not get a connection.
func RepeatRun(ctx context.Context, connected bool, resp *http.Response, err error) bool {
	ctx, attempt := withAttempt(ctx)
	attempt.connected.Store(connected)
	repeat, _ := repeatUnstartedRuns(ctx, resp, err)
	return repeat
}

// RepeatTokens is the policy for token requests, after so many answers of 500.
func RepeatTokens(ctx context.Context, failed int, resp *http.Response, err error) bool {
	ctx = context.WithValue(ctx, tokenFailedKey{}, new(atomic.Bool))
	for range failed {
		_, _ = repeatTokens(ctx, &http.Response{StatusCode: http.StatusInternalServerError}, nil)
	}
	repeat, _ := repeatTokens(ctx, resp, err)
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
	c.starts.HTTPClient.Transport.(*transport).base = base
}

// HeldLogs is how many logs the client holds.
func HeldLogs(c *Client) (n int) {
	c.logs.mu.Lock()
	defer c.logs.mu.Unlock()
	for _, shared := range c.logs.logs {
		shared.busy <- struct{}{}
		if shared.last != nil {
			n++
		}
		<-shared.busy
	}
	return n
}
