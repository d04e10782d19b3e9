// Package request is how Ylem's API is asked: one loop that sends and reads the whole answer, a policy for what may be
// repeated, a token and results that callers share, limits, and errors that hold no secret.
//
// Every error that concerns a request is an [*Error].
package request

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/sync/semaphore"
)

// Config is what [New] builds a client from.
type Config struct {
	BaseURL      string   // without /v1; "" is DefaultBaseURL
	ClientID     string   // OAuth2 client ID
	ClientSecret string   // its secret
	Scopes       []string // requested scopes; none: all that the client has

	UserAgent string
	Headers   map[string]string // sent with every request, for an access proxy in front of Ylem
	TLS       *tls.Config       // nil: the defaults of net/http
	Transport http.RoundTripper // what opens connections; nil: net/http's, with TLS
	Dial      DialContext       // how net/http's opens them; nil: over the network

	RequestTimeout    time.Duration // of one attempt, its answer's body included; 0: none
	MaxRetries        int           // further attempts of a request that is safe to repeat
	RetryWait         time.Duration // before the second attempt, doubled for each one after; 0: half a second
	MaxConcurrentRuns int64         // run requests in flight at once; 0: 1

	Logger *slog.Logger // nil: nothing is logged; neither secrets nor bodies are ever given to it
}

// DialContext opens a connection, like that of [net.Dialer].
type DialContext = func(ctx context.Context, network, address string) (net.Conn, error)

// Client sends requests to one Ylem instance. It is safe for concurrent use, and sends nothing before its first call.
type Client struct {
	base       *url.URL
	reads      *http.Client // for requests that are safe to repeat, tokens included
	starts     *http.Client // for run requests, which are not
	maxRetries int
	retryWait  time.Duration
	tokens     tokenSource
	slots      *semaphore.Weighted // for run requests
	slotCount  int64
	clock      *serverClock
	secrets    []string // never shown
	shared     Flights[any]
	logger     *slog.Logger
}

// answerGrace is how long the answer to a run request that is under way is worth waiting for when its caller's context
// has ended: without it the run is unknown.
const answerGrace = 10 * time.Second

// New builds a client. It sends nothing; it fails if the configuration cannot work.
func New(cfg Config) (*Client, error) {
	base, err := ParseBaseURL(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if cfg.ClientID == "" || cfg.ClientSecret == "" {
		return nil, errors.New("the OAuth client ID and its secret must both be set")
	}
	for _, err := range CheckHeaders(slices.Collect(maps.Keys(cfg.Headers))) {
		return nil, err
	}
	c := &Client{
		base:       base.JoinPath("v1"),
		maxRetries: cfg.MaxRetries,
		retryWait:  cfg.RetryWait,
		slotCount:  max(cfg.MaxConcurrentRuns, 1),
		clock:      new(serverClock),
		secrets:    slices.AppendSeq([]string{cfg.ClientSecret}, maps.Values(cfg.Headers)),
		logger:     cfg.Logger,
	}
	if c.retryWait == 0 {
		c.retryWait = 500 * time.Millisecond
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	c.slots = semaphore.NewWeighted(c.slotCount)
	reads, starts := newTransports(cfg, c.clock, c.logger)
	c.reads = &http.Client{Transport: reads, Timeout: cfg.RequestTimeout}
	c.starts = &http.Client{Transport: starts, Timeout: cfg.RequestTimeout}
	c.tokens.fetch = c.fetchToken(cfg)
	return c, nil
}

// Request is one call of the API. Its path is a list of segments below /v1, which are escaped here.
type Request struct {
	Op          Op
	Method      string
	Path        []string
	Body        []byte
	ContentType string
	Private     bool // the body is a secret: nothing of an answer to it is shown

	// BeforeRerun is called before a run request that was rolled back is sent again; an error ends the call. Nil: not called.
	BeforeRerun func(context.Context) error
}

func (c *Client) url(r Request) *url.URL {
	u := *c.base
	escaped := make([]string, len(r.Path))
	for i, segment := range r.Path {
		escaped[i] = url.PathEscape(segment)
	}
	u.Path += "/" + strings.Join(r.Path, "/")
	u.RawPath = c.base.EscapedPath() + "/" + strings.Join(escaped, "/")
	return &u
}

// Now is the time by the server's clock, to the second, so that a wrong local clock does no harm. If nothing has been
// sent yet, it fetches the token, whose answer has the time.
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	if _, err := c.tokens.get(ctx); err != nil {
		return time.Time{}, err
	}
	return c.LastKnownNow(), nil
}

// LastKnownNow is Now without a request: by the local clock as long as nothing was sent.
func (c *Client) LastKnownNow() time.Time { return c.clock.at(time.Now()) }

// Skew is the server's clock minus ours.
func (c *Client) Skew() time.Duration { return time.Duration(c.clock.skew.Load()) }

// Scope is what the current token may do, as the server says; "" if it does not, or there is no token.
func (c *Client) Scope() string { return c.tokens.scope() }

// Logger is where the client's log goes.
func (c *Client) Logger() *slog.Logger { return c.logger }

// Read sends a request that is safe to repeat, and has decode read the whole answer. If that breaks off, the request is
// sent and decode called again, unless decode has used the answer. Answers other than 2xx are errors.
func (c *Client) Read(ctx context.Context, r Request, decode func(*Answer) error) error {
	return c.repeat(ctx, retryReads, func(ctx context.Context, _ bool) (outcome, error) {
		token, err := c.tokens.get(ctx)
		if err != nil {
			return outcome{}, err
		}
		o, err := c.attempt(ctx, c.reads, r, token, decode)
		// A pipeline that never ran gets the same answer as a token whose session is lost. A young token has its session.
		o.refused = o.refused && (r.Op != OpLastRun || c.tokens.mayBeStale(token, time.Minute))
		return o, err
	})
}

// ReadShared is Read for callers who ask for the same thing at the same time: they share one request and its value,
// which they must not change.
func ReadShared[T any](ctx context.Context, c *Client, r Request, decode func(*Answer) (T, error)) (value T, err error) {
	shared, err := c.shared.Do(ctx, c.url(r).Path, 0, nil, func(ctx context.Context) (any, error) {
		var value T
		err := c.Read(ctx, r, func(a *Answer) (err error) {
			value, err = decode(a)
			return err
		})
		return value, err
	})
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		err = c.newError(r, nil, err) // the caller's context ended
	}
	if err != nil {
		return value, err
	}
	return shared.(T), nil
}

// Start sends a request that starts something and must not be repeated unless nothing was started. It returns the time
// when the request was sent, by the server's clock and no later than it was. If ctx ends while the request is under way, the
// answer is awaited for a little longer.
func (c *Client) Start(ctx context.Context, r Request, decode func(*Answer) error) (sentAt time.Time, err error) {
	var last outcome
	var sent *sending
	err = c.repeat(ctx, retryUnstarted, func(ctx context.Context, alone bool) (outcome, error) {
		slots := int64(1)
		if alone {
			slots = c.slotCount
		}
		last = outcome{}
		if alone && r.BeforeRerun != nil {
			if err := r.BeforeRerun(ctx); err != nil {
				return last, err
			}
		}
		if err := c.slots.Acquire(ctx, slots); err != nil {
			return last, c.newError(r, nil, err)
		}
		defer c.slots.Release(slots)
		token, err := c.tokens.get(ctx)
		if err != nil {
			return last, err
		}
		var end func()
		ctx, sent, end = c.outlive(ctx)
		defer end()
		last, err = c.attempt(ctx, c.starts, r, token, decode)
		last.inFlight = last.status == 0 && sent.connected.Load()
		return last, err
	})
	if sent != nil {
		sentAt = sent.atServer(c.clock)
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Op == r.Op {
		e.MaybeStarted, e.SentAt = maybeStarted(last), sentAt
		e.Deadlock = e.StatusCode != 0 && deadlock(last) // unless it was given up before the next attempt
	}
	return sentAt, err
}

// sending is the connection that a run request was sent over.
type sending struct {
	connected atomic.Bool
	sentAt    atomic.Pointer[time.Time] // by our clock

	// By the server's clock, as far as it was known when the connection was made; nil if it was not.
	sentAtServer atomic.Pointer[time.Time]
}

// atServer is when the request was sent, by the server's clock and no later than it was. The Date of the answer is an upper
// bound. The clock known when the connection was made gives a tighter one.
func (s *sending) atServer(clock *serverClock) (at time.Time) {
	if local := s.sentAt.Load(); local != nil {
		at = clock.at(*local)
	}
	latest := clock.at(time.Now()).Add(time.Second) // Date headers are truncated to seconds
	if known := s.sentAtServer.Load(); known != nil && known.After(at) && known.Before(latest) {
		at = *known
	}
	return at
}

// outlive returns a context for sending that outlives ctx by answerGrace if a connection has been made when ctx ends.
func (c *Client) outlive(ctx context.Context) (_ context.Context, sent *sending, end func()) {
	sent = new(sending)
	outliving, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if !sent.connected.Load() {
			cancel(context.Cause(ctx))
			return
		}
		time.AfterFunc(answerGrace, func() { cancel(context.Cause(ctx)) })
	})
	outliving = httptrace.WithClientTrace(outliving, &httptrace.ClientTrace{
		// Over HTTP/1.1, net/http looks for another connection only if it wrote nothing to the last one.
		GetConn: func(string) { sent.connected.Store(false) },
		GotConn: func(httptrace.GotConnInfo) {
			now := time.Now()
			sent.sentAt.Store(&now)
			if c.clock.known.Load() {
				sent.sentAtServer.Store(new(c.clock.at(now)))
			}
			sent.connected.Store(true)
		},
	})
	return outliving, sent, func() { stop(); cancel(nil) }
}

// attempt sends a request once.
func (c *Client) attempt(ctx context.Context, client *http.Client, r Request, token *oauth2.Token, decode func(*Answer) error) (outcome, error) {
	var body io.Reader
	if len(r.Body) > 0 {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.url(r).String(), body)
	if err != nil {
		return outcome{op: r.Op}, c.newError(r, nil, err)
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	resp, err := client.Do(req)
	if err != nil {
		return outcome{op: r.Op, token: token, err: err}, c.newError(r, nil, canceledBy(ctx, err))
	}
	defer func() { _ = resp.Body.Close() }()
	o := outcome{op: r.Op, token: token, status: resp.StatusCode, header: resp.Header, empty: resp.Header.Get("Content-Length") == "0"}
	if resp.StatusCode/100 != 2 {
		e := c.newError(r, resp, nil)
		o.refused = e.RefusesAccess()
		return o, e
	}
	answer := &Answer{Status: resp.StatusCode, body: resp.Body}
	if err := decode(answer); err != nil {
		o.err, o.truncated, o.used = err, answer.broken, answer.used
		return o, c.newError(r, resp, canceledBy(ctx, err))
	}
	return o, nil
}

// canceledBy is the reason why ctx ended, if it did: net/http has several texts for it.
func canceledBy(ctx context.Context, err error) error { return cmp.Or(context.Cause(ctx), err) }

// repeat makes attempts until one succeeds or must not be repeated. All of them together have the client's retries;
// a new token that is refused as well ends the call. An attempt that is to be made alone says so.
func (c *Client) repeat(ctx context.Context, next policy, attempt func(ctx context.Context, alone bool) (outcome, error)) error {
	alone, renewed := false, false
	for retries := 0; ; {
		o, err := attempt(ctx, alone)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if o.op == "" {
			return err // nothing was sent: there was no token, or no slot
		}
		switch v := next(o); {
		case v == renew && !renewed:
			c.tokens.discard(o.token)
			renewed = true
			continue
		case (v == retry || v == rerun) && retries < c.maxRetries:
			pause := backoff(c.retryWait, retries, o)
			if alone = v == rerun; alone {
				pause = pause/2 + rand.N(pause+1) // for others who were rolled back as well
			}
			retries++
			renewed = false
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return c.interrupted(err, context.Cause(ctx))
			}
		default:
			return err
		}
	}
}

// interrupted is the error of a call that was given up between two attempts.
func (c *Client) interrupted(err, cause error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Op: e.Op, Method: e.Method, URL: e.URL, Err: cause}
	}
	return cause
}
