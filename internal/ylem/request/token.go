package request

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// tokenSource keeps the one token that all requests share. oauth2.ReuseTokenSource is not enough: a token that
// the server refuses must be replaced before it expires, and a caller that gives up must not end the request
// that others wait for.
type tokenSource struct {
	fetch   func(context.Context) (*oauth2.Token, error)
	flights Flights[*oauth2.Token]

	mu      sync.Mutex
	token   *oauth2.Token
	fetched time.Time // when the token was
	issued  []string  // the last tokens, newest first: an old one must not be shown either
	refused error     // permanent for this process: the credentials cannot change
}

// get returns the shared token, and fetches one if there is none or it is about to expire.
func (s *tokenSource) get(ctx context.Context) (*oauth2.Token, error) {
	if token, err := s.known(); token != nil || err != nil {
		return token, err
	}
	token, err := s.flights.Do(ctx, "", 0, nil, func(ctx context.Context) (*oauth2.Token, error) {
		if token, err := s.known(); token != nil || err != nil {
			return token, err // fetched by a call that ended just now
		}
		token, err := s.fetch(ctx)
		s.keep(token, err)
		return token, err
	})
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		err = &Error{Op: OpToken, Err: err} // the caller's context ended
	}
	return token, err
}

// known is the token if it is still good, or the refusal of the credentials.
func (s *tokenSource) known() (*oauth2.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.Valid() {
		return s.token, nil
	}
	return nil, s.refused
}

func (s *tokenSource) keep(token *oauth2.Token, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := errors.AsType[*Error](err); ok && e.RefusesCredentials() {
		s.refused = err
	}
	s.token, s.fetched = token, time.Now()
	if token != nil {
		// Tokens that live for a second would make many.
		s.issued = append([]string{token.AccessToken, token.RefreshToken}, s.issued[:min(len(s.issued), 8)]...)
	}
}

// discard forgets a token that the server refused, unless it has been replaced already.
func (s *tokenSource) discard(token *oauth2.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token = nil
	}
}

// mayBeStale reports whether a token is not the current one any more, or was fetched longer than d ago.
func (s *tokenSource) mayBeStale(token *oauth2.Token, d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token != token || time.Since(s.fetched) > d
}

func (s *tokenSource) issuedTokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// scope is what the current token may do, as the server says; "" if it does not.
func (s *tokenSource) scope() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		return ""
	}
	scope, _ := s.token.Extra("scope").(string)
	return scope
}

// fetchToken requests a token. Retrying is up to the client's loop, because x/oauth2 does not.
func (c *Client) fetchToken(cfg Config) func(context.Context) (*oauth2.Token, error) {
	credentials := clientcredentials.Config{
		ClientID:     cfg.ClientID,
		ClientSecret: cfg.ClientSecret,
		TokenURL:     c.base.JoinPath("oauth", "token").String(),
		AuthStyle:    oauth2.AuthStyleInParams, // Ylem ignores HTTP Basic
	}
	if len(cfg.Scopes) > 0 {
		// Ylem separates scopes by commas, x/oauth2 by spaces.
		credentials.Scopes = []string{strings.Join(cfg.Scopes, ",")}
	}
	return func(ctx context.Context) (token *oauth2.Token, err error) {
		return token, c.repeat(ctx, retryTokens(), func(ctx context.Context, _ bool) (outcome, error) {
			seen := &seenAnswer{client: c.reads}
			var failure error
			token, failure = credentials.Token(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: seen}))
			if failure == nil && len(token.AccessToken)+len(token.RefreshToken) > maxTokens {
				token, failure = nil, fmt.Errorf("the tokens have more than %d bytes", maxTokens)
			}
			if failure == nil {
				return outcome{}, nil
			}
			token = nil
			o := outcome{op: OpToken, status: seen.status, header: seen.header, err: failure, truncated: seen.body.broken}
			return o, c.tokenError(credentials.TokenURL, seen, failure)
		})
	}
}

// seenAnswer sends requests, and notes what x/oauth2 does not report of their answers.
type seenAnswer struct {
	client *http.Client
	status int
	header http.Header
	body   Answer
}

// RoundTrip sends a request.
func (s *seenAnswer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.client.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return nil, wrapped.Err // the client that x/oauth2 uses wraps it again
	}
	if err == nil {
		s.status, s.header, s.body = resp.StatusCode, resp.Header, Answer{body: resp.Body}
		resp.Body = struct {
			io.Reader
			io.Closer
		}{&s.body, resp.Body}
	}
	return resp, err
}

// tokenError reports a token request. Nothing of the answer's body is shown but the two texts of an OAuth error: it may
// hold tokens, or repeat the secret.
func (c *Client) tokenError(url string, seen *seenAnswer, err error) *Error {
	e := &Error{Op: OpToken, Method: http.MethodPost, URL: url, StatusCode: seen.status, header: seen.header}
	secrets := slices.Concat(c.secrets, c.tokens.issuedTokens())
	refused, isRefusal := errors.AsType[*oauth2.RetrieveError](err)
	if isRefusal {
		var answer struct {
			AccessToken  string `json:"access_token"`
			RefreshToken string `json:"refresh_token"`
		}
		if json.Unmarshal(refused.Body, &answer) == nil {
			secrets = append(secrets, answer.AccessToken, answer.RefreshToken)
		}
		e.Code = Shorten(redact(refused.ErrorCode, secrets))
		e.Message = Shorten(redact(refused.ErrorDescription, secrets))
	}
	if seen.status != 0 {
		e.ContentType = seen.header.Get("Content-Type")
	}
	if seen.status/100 == 3 {
		e.Location = Shorten(redact(seen.header.Get(locationNotFollowed), secrets))
	}
	switch {
	case seen.status == 0 || seen.body.broken:
		e.Err = c.cause(Request{Op: OpToken}, err)
	case seen.status/100 != 2:
	case e.Code != "":
		e.Err = errors.New("it is an error in spite of its status")
	case strings.HasPrefix(err.Error(), "the tokens"):
		e.Err = err
	default:
		e.Err = errors.New("it holds no access token")
	}
	return e
}
