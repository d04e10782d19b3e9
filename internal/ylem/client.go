// Package ylem is a client of the Ylem API: it starts runs of pipelines and reads what runs did.
//
// It understands both dialects of the API without being told which one it talks to: the published
// reference of the hosted service (https://docs.ylem.co/api/api-reference) and the open-source server
// (https://github.com/ylem-co/ylem). Where they exclude each other, it tries the one and then the other.
//
// All times are UTC, all durations that Ylem reports are milliseconds. Every error that concerns a request
// is an [*Error].
package ylem

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/sync/semaphore"
)

// DefaultBaseURL is the address of the hosted service.
const DefaultBaseURL = "https://api.datamin.io"

// Config is what [New] builds a client from.
type Config struct {
	BaseURL      string   // without /v1; "" is DefaultBaseURL
	ClientID     string   // OAuth2 client ID
	ClientSecret string   // its secret
	Scopes       []string // requested scopes; none: all that the client has

	UserAgent string
	Headers   map[string]string // sent with every request, for an access proxy in front of Ylem
	TLS       *tls.Config       // nil: the defaults of net/http

	RequestTimeout    time.Duration // of one attempt, its answer's body included; 0: none
	MaxRetries        int           // further attempts of a request that is safe to repeat
	RetryWait         time.Duration // before the second attempt, doubled for each one after; 0: half a second
	MaxConcurrentRuns int64         // run requests in flight at once; 0: 1

	Logger *slog.Logger // nil: nothing is logged; neither secrets nor bodies are ever given to it
}

// Client talks to one Ylem instance. It is safe for concurrent use, and sends nothing before its first call.
type Client struct {
	base     *url.URL
	tokens   *tokenSource
	reads    *retryablehttp.Client // for requests that are safe to repeat
	starts   *retryablehttp.Client // for run requests, which are not
	runSlots *semaphore.Weighted
	grace    time.Duration // for the answer to a run request that is under way when its context ends
	skew     *atomic.Int64 // the server's clock minus ours, in nanoseconds
	dayForm  atomic.Int32  // one more than the index into dayForms of what worked; 0: not known
	secrets  []string      // never shown
	gets     flights
	logs     logCache
	logger   *slog.Logger
}

// New builds a client. It sends nothing; it fails where the configuration cannot work.
func New(cfg Config) (*Client, error) {
	base, err := ParseBaseURL(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if cfg.ClientID == "" || cfg.ClientSecret == "" {
		return nil, errors.New("the OAuth client ID and its secret must both be set")
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}

	c := &Client{
		base:     base.JoinPath("v1"),
		runSlots: semaphore.NewWeighted(max(cfg.MaxConcurrentRuns, 1)),
		grace:    10 * time.Second,
		skew:     new(atomic.Int64),
		secrets:  []string{cfg.ClientSecret},
		logger:   logger,
	}
	for _, err := range CheckHeaders(slices.Collect(maps.Keys(cfg.Headers))) {
		return nil, err
	}
	c.secrets = slices.AppendSeq(c.secrets, maps.Values(cfg.Headers))
	// net/http repeats a POST over HTTP/2 where the server resets its stream, and tells nobody.
	var both, one http.Protocols
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	one.SetHTTP1(true)
	newHTTP := func(protocols *http.Protocols) *http.Client {
		return &http.Client{Transport: newTransport(cfg, protocols, c.skew, logger), Timeout: cfg.RequestTimeout}
	}
	reads := newHTTP(&both)
	c.reads = newRetryClient(reads, cfg, repeatReads)
	c.starts = newRetryClient(newHTTP(&one), cfg, repeatUnstartedRuns)
	c.tokens = newTokenSource(cfg, c.base.JoinPath("oauth", "token"), newRetryClient(reads, cfg, repeatTokens), c.secrets)
	return c, nil
}

// ParseBaseURL checks the address of a Ylem instance and brings it into the form [New] works with: a trailing
// slash or /v1 is dropped, an empty address is [DefaultBaseURL].
func ParseBaseURL(s string) (*url.URL, error) {
	if s == "" {
		s = DefaultBaseURL
	}
	u, err := url.Parse(s)
	switch {
	case s != strings.TrimSpace(s):
		return nil, errors.New("the URL begins or ends with white space, such as the line end of a file")
	case withoutScheme.MatchString(s):
		scheme := "https://"
		if host := withoutScheme.FindStringSubmatch(s); host[2] == ":7339" || loopback.MatchString(host[1]) {
			scheme = "http://" // as self-hosted Ylem listens
		}
		return nil, fmt.Errorf("the URL must begin with https:// or http://, as in %s%s", scheme, s)
	case err != nil && strings.Contains(s, "@"): // the error may repeat a password
		return nil, errors.New("not a URL; a user name or password has no place in it")
	case err != nil:
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err // without the whole address
		}
		return nil, fmt.Errorf("not a URL: %w", err)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the URL must begin with https:// or http://")
	case u.Hostname() == "":
		return nil, errors.New("the URL names no host")
	case u.User != nil:
		return nil, errors.New("the URL must not hold a user name or password")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, errors.New("the URL must not hold a query or fragment")
	}
	// What is escaped stays escaped: "team%2Fa" is one segment.
	u.RawPath = strings.TrimSuffix(strings.TrimRight(u.EscapedPath(), "/"), "/v1")
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	if _, err := url.Parse(u.String()); err != nil { // a host in brackets can hold what cannot be written
		return nil, errors.New("the URL names no host that can be reached")
	}
	return u, nil
}

// An address without a scheme, and the hosts of this machine. None of them can hold a password.
var (
	withoutScheme = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(?:/[A-Za-z0-9/._-]*)?$`)
	loopback      = regexp.MustCompile(`^(localhost|127\.[0-9.]+|\[::1\])$`)
)

// CheckHeaders finds the headers that must not be added to requests: those that the client or net/http sets itself, those
// that would change what an answer is, those that make net/http send a POST again, and of two names of one header the second.
// It returns what is wrong by name.
func CheckHeaders(names []string) map[string]error {
	wrong, seen := map[string]error{}, map[string]bool{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !headerName.MatchString(name):
			wrong[name] = fmt.Errorf("%q is not the name of a header", name)
		case strings.HasPrefix(canonical, "Content-"), strings.HasPrefix(canonical, "If-"), slices.Contains(ownHeaders, canonical):
			wrong[name] = fmt.Errorf("the header %s must not be set", canonical)
		case seen[canonical]:
			wrong[name] = fmt.Errorf("the header %s is set twice; names are case-insensitive", canonical)
		}
		seen[canonical] = true
	}
	return wrong
}

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	ownHeaders = []string{
		"Accept", "Accept-Encoding", "Authorization", "Connection", "Expect", "Host", "Idempotency-Key", "Range",
		"Trailer", "Transfer-Encoding", "Upgrade", "X-Idempotency-Key",
	}
)

// ValidUUID reports whether s is a UUID in the form Ylem shows: 8-4-4-4-12 hexadecimal digits, in either case.
func ValidUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return false
			}
		}
	}
	return true
}

// Now is the time by the server's clock, to the second, so that a wrong local clock does no harm. It fetches
// the token, whose answer tells the time, when nothing has been asked yet.
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	if _, err := c.tokens.get(ctx); err != nil {
		return time.Time{}, err
	}
	return c.now(), nil
}

func (c *Client) now() time.Time {
	return time.Now().Add(time.Duration(c.skew.Load())).UTC()
}

// request is one call of the API. Its path is a list of segments below /v1, which are escaped here.
type request struct {
	op          Op
	method      string
	path        []string
	body        []byte
	contentType string
}

func (c *Client) url(r request) *url.URL {
	u := *c.base
	escaped := make([]string, len(r.path))
	for i, segment := range r.path {
		escaped[i] = url.PathEscape(segment)
	}
	u.Path += "/" + strings.Join(r.path, "/")
	u.RawPath = c.base.EscapedPath() + "/" + strings.Join(escaped, "/")
	return &u
}

// What an answer may have, in bytes: 80 years of days, the largest of statistics, have half of maxBody.
const (
	maxBody    = 8 << 20
	maxRunBody = 1 << 20
)

// readBody reads the whole answer. brokeOff tells that it did not come whole, which asking again may mend.
func readBody(resp *http.Response, limit int64) (body []byte, brokeOff bool, err error) {
	body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		return nil, false, fmt.Errorf("it is longer than %d MiB", limit>>20)
	}
	return body, err != nil, err
}

// send fetches a token, sends the request, and once more with a new token when the first one was refused.
// Answers other than 2xx are errors. The caller closes the body, and has said how many repeats there may be.
func (c *Client) send(ctx context.Context, client *retryablehttp.Client, r request) (*http.Response, error) {
	for renewed := false; ; renewed = true {
		token, err := c.tokens.get(ctx)
		if err != nil {
			return nil, err
		}
		var body any
		if len(r.body) > 0 {
			body = r.body
		}
		req, err := retryablehttp.NewRequestWithContext(ctx, r.method, c.url(r).String(), body)
		if err != nil {
			return nil, c.newError(r, nil, err)
		}
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		if r.contentType != "" {
			req.Header.Set("Content-Type", r.contentType)
		}
		resp, err := client.Do(req)
		if err != nil {
			if resp != nil {
				_ = resp.Body.Close()
			}
			return nil, c.newError(r, nil, err)
		}
		if resp.StatusCode/100 == 2 {
			return resp, nil
		}
		failure := c.newError(r, resp, nil)
		_ = resp.Body.Close()
		a, _ := ctx.Value(attemptKey{}).(*attempt)
		if resp.StatusCode != http.StatusUnauthorized || renewed || a != nil && a.caller.Err() != nil {
			return nil, failure
		}
		c.tokens.discard(token)
	}
}
