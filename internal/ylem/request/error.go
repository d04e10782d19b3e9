package request

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

// Error is a request that failed: the server refused it, gave an answer that cannot be understood, or none.
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

	// Of a run request:
	MaybeStarted bool      // the run may have been started in spite of the error
	Deadlock     bool      // Ylem's database rolled the run back, every time
	SentAt       time.Time // when the request was sent, by the server's clock

	header http.Header
}

// Error says what failed, and what the server answered.
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

// RefusesCredentials reports whether the token endpoint refused the client's ID, secret or scopes.
func (e *Error) RefusesCredentials() bool {
	return e.Op == OpToken && e.StatusCode/100 == 4 && slices.Contains(refusals, e.Code)
}

// refusals are the codes of RFC 6749 that another request cannot change. A proxy has others, such as for too many requests.
var refusals = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "access_denied"}

// RefusesAccess reports whether Ylem's statistics refused to show something: it belongs to another organization, or the
// token's session is lost. A proxy that refuses says something else.
func (e *Error) RefusesAccess() bool {
	return e.Op != OpToken && e.StatusCode == http.StatusForbidden && e.Message == "Forbidden" &&
		strings.HasPrefix(e.ContentType, "application/json")
}

// NoData reports whether Ylem answered a request for the last run with the 403 that it gives for something that never
// ran, does not exist or belongs to another organization.
func (e *Error) NoData() bool { return e.Op == OpLastRun && e.RefusesAccess() }

// Permanent reports whether the same request cannot succeed later without a change of the credentials, of their rights
// or of the configuration.
func (e *Error) Permanent() bool {
	return e.MissingScope() || e.RefusesCredentials() || e.RefusesAccess()
}

// Failure reports a part of a successful answer that cannot be understood.
func (c *Client) Failure(r Request, a *Answer, err error) *Error {
	e := c.newError(r, nil, err)
	e.StatusCode = a.Status
	return e
}

// newError reports an attempt without a usable answer (err), or with an answer that refuses it (resp).
func (c *Client) newError(r Request, resp *http.Response, err error) *Error {
	e := &Error{Op: r.Op, Method: r.Method, URL: c.url(r).String(), Err: c.cause(r, err)}
	if resp == nil {
		return e
	}
	e.StatusCode, e.header, e.ContentType = resp.StatusCode, resp.Header, resp.Header.Get("Content-Type")
	if location := resp.Header.Get(locationNotFollowed); resp.StatusCode/100 == 3 && location != "" {
		e.Location = c.show(r, location)
		if u, err := url.Parse(location); r.Private && err == nil && u.Host != "" {
			e.Location = Shorten(u.Scheme + "://" + u.Host)
		}
	}
	if err == nil {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // a truncated body is still shown
		e.Message = c.show(r, bodyMessage(body))
	}
	return e
}

// redact hides the client's secret, the extra headers' values and every token from a text.
func (c *Client) redact(text string) string {
	return redact(text, slices.Concat(c.secrets, c.tokens.issuedTokens()))
}

// show makes a text of the server's fit to be shown. Of an answer to a private request nothing is.
func (c *Client) show(r Request, text string) string {
	if text = Shorten(c.redact(text)); r.Private && text != "" {
		return "(hidden, as it may repeat the input)"
	}
	return text
}

// Unreadable reports an answer that is not as expected, and shows how it begins.
func (c *Client) Unreadable(r Request, body []byte, err error) error {
	if r.Private {
		err = errHidden // a decoder may quote what it could not decode
	}
	return fmt.Errorf("%w: %q", err, c.show(r, string(body)))
}

// cause makes an error fit to be shown. It drops the address that net/http puts before it: Error has it already.
func (c *Client) cause(r Request, err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if err == nil {
		return nil
	}
	text := Shorten(c.redact(err.Error()))
	if r.Private && !isLocal(err) {
		text = "the reason is hidden, as it may repeat the input"
	}
	if text != err.Error() {
		return &redactedError{text: text, err: err}
	}
	return err
}

// isLocal reports whether an error's text comes from this side of the connection.
func isLocal(err error) bool {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return true
	}
	_, network := errors.AsType[*net.OpError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, status := errors.AsType[statusError](err)
	return network || certificate || status || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) ||
		errors.Is(err, errHidden) || errors.Is(err, http.ErrSchemeMismatch)
}

// errHidden stands in place of the reason why an answer to a private request is not as expected.
var errHidden = errors.New("it does not name a run")

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

// AsError finds the [*Error] in an error.
func AsError(err error) (*Error, bool) { return errors.AsType[*Error](err) }
