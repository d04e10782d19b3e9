package request

import (
	"net/http"
	"time"
)

const (
	MaxMessage   = maxMessage
	MaxRetryWait = maxRetryWait
)

// BodyMessage is what is shown of an error's body that holds no secret.
func BodyMessage(body []byte) string { return Shorten(bodyMessage(body)) }

// Redact takes one secret out of a text.
func Redact(text, secret string) string { return redact(text, []string{secret}) }

// Remembered is the number of tokens that the client still knows, access and refresh tokens together.
func Remembered(c *Client) int { return len(c.tokens.issuedTokens()) }

// Attempt is an attempt that failed.
type Attempt struct {
	Op       Op
	Status   int
	Header   http.Header
	Err      error
	InFlight bool
	Empty    bool
}

func (a Attempt) outcome() outcome {
	return outcome{op: a.Op, status: a.Status, header: a.Header, err: a.Err, inFlight: a.InFlight && a.Status == 0, empty: a.Empty}
}

// RetriesRead, RetriesRun and RetriesToken report what the policies decide, the last one after that number of answers of 500.
func RetriesRead(a Attempt) bool { return retryReads(a.outcome()) == retry }

func RetriesRun(a Attempt) bool {
	v := retryUnstarted(a.outcome())
	return v == retry || v == rerun
}

func RetriesToken(a Attempt, failed int) bool {
	policy := retryTokens()
	for range failed {
		policy(outcome{op: OpToken, status: http.StatusInternalServerError})
	}
	return policy(a.outcome()) == retry
}

// MaybeStarted reports whether a run may have been started.
func MaybeStarted(a Attempt) bool { return maybeStarted(a.outcome()) }

// Backoff is the pause after the attempt of that number, counted from 0.
func Backoff(first time.Duration, attempt int, resp *http.Response) time.Duration {
	return backoff(first, attempt, outcome{status: resp.StatusCode, header: resp.Header})
}
