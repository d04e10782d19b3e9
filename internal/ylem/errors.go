package ylem

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/oauth2"
)

// Op names what a request was for.
type Op string

// The operations of the API.
const (
	OpToken           Op = "get an access token"
	OpRun             Op = "run the pipeline"
	OpLogs            Op = "read the logs"
	OpStats           Op = "read the statistics"
	OpAggregatedStats Op = "read the aggregated statistics"
	OpLastRun         Op = "read the last run"
)

// Error is a request that failed: the server refused it, answered what cannot be understood, or not at all.
type Error struct {
	Op          Op
	Method      string
	URL         string // as sent
	StatusCode  int    // 0: there was no answer
	Code        string // OAuth error code, such as invalid_client; only from the token endpoint
	ContentType string // of the answer; Ylem's gateway gives none when it refuses a scope
	Message     string // what Ylem said, shortened; "" when the body was empty
	Location    string // where a redirect pointed, which is not followed
	Err         error  // why there is no answer, or why it cannot be understood

	// MaybeStarted tells, for a run request, that the run may have been started in spite of the error, and SentAt
	// when it was asked for, by the server's clock.
	MaybeStarted bool
	SentAt       time.Time

	header   http.Header
	brokeOff bool // the answer's body did not come whole
}

// Error tells what failed, and what the server answered.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "could not %s", e.Op)
	if e.Method != "" {
		fmt.Fprintf(&b, ": %s %s", e.Method, e.URL)
	}
	if e.StatusCode != 0 {
		fmt.Fprintf(&b, ": %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	}
	if e.Location != "" {
		fmt.Fprintf(&b, ", redirecting to %s", e.Location)
	}
	for _, part := range []string{e.Code, e.Message} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause, so that errors.Is finds context.Canceled and its like.
func (e *Error) Unwrap() error { return e.Err }

// MissingScope reports whether Ylem's gateway refused the request because the token lacks the scope for it:
// a 403 without a body or Content-Type. Other refusals come from the services behind it and have one of them.
func (e *Error) MissingScope() bool {
	return e.Op != OpToken && e.StatusCode == http.StatusForbidden && e.ContentType == "" && e.Message == ""
}

// refusesCredentials reports whether asking for a token again cannot help.
func (e *Error) refusesCredentials() bool {
	return e.Op == OpToken && e.Code != "" && (e.StatusCode == http.StatusBadRequest ||
		e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden)
}

// NoData reports whether Ylem answered a request for the last run with the 403 it gives for what never ran,
// for what does not exist and for what belongs to another organization alike. A proxy that refuses says something else.
func (e *Error) NoData() bool {
	return e.Op == OpLastRun && e.StatusCode == http.StatusForbidden && e.Message == "Forbidden" &&
		strings.HasPrefix(e.ContentType, "application/json")
}

// maxErrorBody is how much of an error's body is read, in bytes. Ylem's own are below one kilobyte, but one that
// echoes the longest input must be read whole for the input to be recognized.
const maxErrorBody = 1 << 20

// newError reports a request without a usable answer (err), or with an answer that refuses it (resp).
func (c *Client) newError(r request, resp *http.Response, err error) *Error {
	secrets := c.secretsOf(r)
	e := &Error{Op: r.op, Method: r.method, URL: c.url(r).String(), Err: cause(err, secrets)}
	if resp != nil {
		// A body that breaks off is no worse than none: the status counts.
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		e.fill(resp, body, secrets)
	}
	return e
}

// secretsOf is all that must not be shown of a request.
func (c *Client) secretsOf(r request) []string {
	return append(append([]string{string(r.body)}, c.secrets...), c.tokens.issuedTokens()...)
}

// unreadable reports an answer that is not what it should be, and shows how it begins.
func (c *Client) unreadable(r request, body []byte, err error) error {
	return fmt.Errorf("%w: %q", err, Shorten(redact(string(body), c.secretsOf(r))))
}

// newTokenError reports a token request. status is that of its answer, which x/oauth2 keeps to itself where the
// answer is no token.
func newTokenError(url string, status int, err error, secrets []string) *Error {
	e := &Error{Op: OpToken, Method: http.MethodPost, URL: url, StatusCode: status}
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		e.Err = cause(err, secrets)
		return e
	}
	// Also an answer that is an error may hold tokens.
	var answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(refused.Body, &answer); err == nil {
		secrets = append(slices.Clone(secrets), answer.AccessToken, answer.RefreshToken)
	} else if read := letters(string(refused.Body)); strings.Contains(read, "accesstoken") || strings.Contains(read, "refreshtoken") {
		refused.Body = []byte("(hidden, as it seems to hold a token)")
	}
	e.fill(refused.Response, refused.Body, secrets)
	if refused.ErrorCode != "" {
		e.Code = Shorten(redact(refused.ErrorCode, secrets))
		e.Message = Shorten(redact(refused.ErrorDescription, secrets))
	}
	if e.StatusCode/100 == 2 {
		e.Err = errors.New("the answer is an error in spite of its status")
	}
	return e
}

func (e *Error) fill(resp *http.Response, body []byte, secrets []string) {
	e.StatusCode = resp.StatusCode
	e.header = resp.Header
	e.ContentType = resp.Header.Get("Content-Type")
	e.Message = Shorten(redact(bodyMessage(body), secrets))
	if resp.StatusCode/100 == 3 {
		e.Location = Shorten(redact(resp.Header.Get(notFollowed), secrets))
	}
}

// cause makes an error fit to be shown. It drops the address that net/http puts before it: Error tells it already.
func cause(err error, secrets []string) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if err == nil {
		return nil
	}
	hide := redact
	if ownWords(err) {
		hide = replaceSecrets
	}
	if text := Shorten(hide(err.Error(), secrets)); text != err.Error() {
		return &redactedError{text: text, err: err}
	}
	return err
}

// ownWords reports whether no word of an error is the server's, or none that it could have from a request.
func ownWords(err error) bool {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return true
	}
	_, network := errors.AsType[*net.OpError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	return network || certificate || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled)
}

// bodyMessage finds what an error's body says: Ylem's services answer {"code","message","errors"}, proxies and
// the router plain text or HTML.
func bodyMessage(body []byte) string {
	var answer struct {
		Message          string   `json:"message"`
		Errors           []string `json:"errors"`
		Error            string   `json:"error"`
		ErrorDescription string   `json:"error_description"`
	}
	text := string(body)
	if json.Unmarshal(body, &answer) == nil {
		var parts []string
		for _, part := range append([]string{answer.Message, answer.Error, answer.ErrorDescription}, answer.Errors...) {
			if part != "" {
				parts = append(parts, part)
			}
		}
		if len(parts) > 0 {
			text = strings.Join(parts, ": ")
		}
	}
	return text
}

// maxMessage is the length of the longest message shown, in characters.
const maxMessage = 300

// Shorten makes one line of a foreign text, without control characters and not too long for a diagnostic.
func Shorten(s string) string {
	var b strings.Builder
	n, gap := 0, ""
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			if n > 0 {
				gap = " "
			}
			continue
		}
		if n += len(gap) + 1; n > maxMessage {
			return b.String() + "…"
		}
		b.WriteString(gap)
		b.WriteRune(r)
		gap = ""
	}
	return b.String()
}
