package request

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/oauth2"
)

// verdict is what to do after a failed attempt.
type verdict int

const (
	giveUp verdict = iota
	retry          // send the request again after a pause
	renew          // send it again with a new token
	rerun          // send it again after a pause, with no other run request under way
)

// outcome is how an attempt failed, as far as the policies need it.
type outcome struct {
	op        Op
	token     *oauth2.Token // that was sent; nil: none
	status    int           // 0: no answer
	header    http.Header   // of the answer
	err       error         // why there is no answer, or why its body is unusable
	truncated bool          // the body broke off
	used      bool          // part of the body was handed out, so that a retry would duplicate it
	inFlight  bool          // a connection was made, and what was sent over it is not answered
	empty     bool          // the answer's body has the announced length 0
	refused   bool          // the statistics service refuses access
}

// policy decides whether an attempt is repeated, whatever attempts are left.
type policy func(outcome) verdict

// retryReads repeats what did not reach Ylem or what Ylem could not answer: connection errors, 429 and 5xx (the gateway
// answers 500 for a service that is down), and answers that broke off. A token that is refused, or whose session is lost,
// is replaced.
func retryReads(o outcome) verdict {
	switch {
	case o.used:
		return giveUp
	case o.status == http.StatusUnauthorized, o.refused:
		return renew
	case o.truncated, transient(o):
		return retry
	default:
		return giveUp
	}
}

// retryTokens returns a policy for one token request. It is retryReads, except that a 500 is repeated only once: it is
// also Ylem's answer to an unknown client ID.
func retryTokens() policy {
	failed := false
	return func(o outcome) verdict {
		if o.status == http.StatusInternalServerError {
			if failed {
				return giveUp
			}
			failed = true
		}
		if v := retryReads(o); v == retry {
			return retry
		}
		return giveUp
	}
}

// retryUnstarted repeats a run request only after an answer, or the lack of a connection, that proves that nothing was
// started: the request never left, Ylem refused the token, put the request off, or rolled the run back.
func retryUnstarted(o outcome) verdict {
	switch {
	case o.status == http.StatusUnauthorized:
		return renew
	case deadlock(o):
		return rerun
	case o.status == 0 && !o.inFlight && transient(o), o.status != 0 && postponed(o.status, o.header):
		return retry
	default:
		return giveUp
	}
}

// transient reports whether a request that is safe to repeat may succeed if it is.
func transient(o outcome) bool {
	if errors.Is(o.err, http.ErrSchemeMismatch) || AnswersHTTP2(o.err) || NeedsProxyPassword(o.err) {
		return false
	}
	if o.status != 0 && o.status/100 == 2 {
		return false // the answer is whole but unusable
	}
	var resp *http.Response
	if o.status != 0 {
		resp, o.err = &http.Response{StatusCode: o.status, Header: o.header}, nil
	}
	again, _ := retryablehttp.DefaultRetryPolicy(context.Background(), resp, o.err)
	return again
}

// deadlock reports whether the open-source server answers that its database rolled the run back, as happens when several
// pipelines are started at once: 500 with a JSON type and without a body. The gateway's own 500 has a body.
func deadlock(o outcome) bool {
	return o.op == OpRun && o.status == http.StatusInternalServerError && o.empty &&
		o.header.Get("Content-Type") == "application/json; charset=utf-8"
}

// maybeStarted reports whether a run may have been started in spite of a failure. Ylem refuses with 400, 401, 403 and
// 404 before it starts one. A proxy that gave up waiting (408, 460, 499) and a conflict (409) prove nothing, and 303 says
// that something was done.
func maybeStarted(o outcome) bool {
	switch {
	case o.status == 0:
		return o.inFlight && !AnswersHTTP2(o.err)
	case o.status/100 == 2:
		return true
	case deadlock(o), postponed(o.status, o.header):
		return false
	}
	switch o.status {
	case http.StatusSeeOther, http.StatusRequestTimeout, http.StatusConflict, 460, 499:
		return true
	default:
		return o.status >= 500
	}
}

// postponed reports whether the server asked for the request to be sent again later.
func postponed(status int, header http.Header) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable && header.Get("Retry-After") != ""
}

// AnswersHTTP2 reports whether a server answered a request in HTTP/1.1 with HTTP/2. It did not understand the request.
func AnswersHTTP2(err error) bool {
	return anyText(err, http2Answer.MatchString)
}

// NeedsProxyPassword reports whether a proxy refused to connect to Ylem with 407.
func NeedsProxyPassword(err error) bool {
	return anyText(err, func(text string) bool { return strings.HasSuffix(text, "Proxy Authentication Required") })
}

// anyText looks at the texts of an error and of its causes: a text that is shown may be redacted.
func anyText(err error, matches func(string) bool) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if matches(err.Error()) {
			return true
		}
	}
	return false
}

// The first frame of HTTP/2 is SETTINGS: a length of three bytes, of which the first two are 0, and the type 4.
var http2Answer = regexp.MustCompile(`malformed HTTP response "\\x00\\x00.{1,4}\\x04`)

// maxRetryWait bounds every pause, also one that the server asks for with Retry-After.
const maxRetryWait = time.Minute

// backoff is the pause before the next attempt: doubled each time, or what the server asks for.
func backoff(first time.Duration, retries int, o outcome) time.Duration {
	resp := &http.Response{StatusCode: o.status, Header: o.header}
	if pause := retryablehttp.DefaultBackoff(first, maxRetryWait, retries, resp); 0 <= pause && pause <= maxRetryWait {
		return pause
	}
	return maxRetryWait // a huge Retry-After overflows
}
