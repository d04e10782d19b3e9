package ylem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"
)

// tokenSource keeps the one token that all requests share. oauth2.ReuseTokenSource is not enough: a token that
// the server refuses must be replaced before it expires, and a caller that gives up must not end the request
// that others wait for.
type tokenSource struct {
	fetch func(context.Context) (*oauth2.Token, error)
	group singleflight.Group

	mu      sync.Mutex
	token   *oauth2.Token
	issued  []string // the last tokens, newest first: also an old one must not be shown
	refused error    // the credentials do not change within a process, and neither does this answer
}

func newTokenSource(cfg Config, endpoint *url.URL, client *retryablehttp.Client, secrets []string) *tokenSource {
	credentials := clientcredentials.Config{
		ClientID:     cfg.ClientID,
		ClientSecret: cfg.ClientSecret,
		TokenURL:     endpoint.String(),
		AuthStyle:    oauth2.AuthStyleInParams, // Ylem ignores HTTP Basic
	}
	if len(cfg.Scopes) > 0 {
		// Ylem separates scopes by commas, x/oauth2 by spaces.
		credentials.Scopes = []string{strings.Join(cfg.Scopes, ",")}
	}
	s := new(tokenSource)
	s.fetch = func(ctx context.Context) (token *oauth2.Token, err error) {
		seen := &seenAnswer{RoundTripper: &retryablehttp.RoundTripper{Client: client}}
		ctx = context.WithValue(ctx, tokenFailedKey{}, new(atomic.Bool))
		ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: seen})
		untilWhole(ctx, client, func(ctx context.Context) bool {
			token, err = credentials.Token(ctx)
			return err != nil && seen.body.failed
		})
		if err == nil && len(token.AccessToken)+len(token.RefreshToken) > maxTokens {
			err = fmt.Errorf("the tokens have more than %d bytes", maxTokens)
		}
		if err != nil {
			return nil, newTokenError(endpoint.String(), seen.status, err, slices.Concat(secrets, s.issuedTokens()))
		}
		return token, nil
	}
	return s
}

// maxTokens is the length of the longest pair of tokens, in bytes. Ylem's have 96.
const maxTokens = 16 << 10

// seenAnswer notes what x/oauth2 keeps to itself of an answer that is no token.
type seenAnswer struct {
	http.RoundTripper
	status int
	body   watchedReader
}

// RoundTrip sends a request.
func (s *seenAnswer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.status, s.body = 0, watchedReader{}
	resp, err := s.RoundTripper.RoundTrip(req)
	if err == nil {
		s.status, s.body.Reader = resp.StatusCode, resp.Body
		resp.Body = struct {
			io.Reader
			io.Closer
		}{&s.body, resp.Body}
	}
	return resp, err
}

// get returns the shared token, and fetches one where there is none or it is about to expire.
func (s *tokenSource) get(ctx context.Context) (*oauth2.Token, error) {
	s.mu.Lock()
	token, refused := s.token, s.refused
	s.mu.Unlock()
	if token.Valid() {
		return token, nil
	}
	if refused != nil {
		return nil, refused
	}

	caller := ctx
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		caller = a.caller // the request for a token is no attempt to start a run
	}
	fetched := s.group.DoChan("", func() (any, error) {
		s.mu.Lock()
		token := s.token
		s.mu.Unlock()
		if token.Valid() { // fetched by the one before, between the check above and here
			return token, nil
		}
		token, err := s.fetch(context.WithoutCancel(caller))
		s.mu.Lock()
		defer s.mu.Unlock()
		if e, ok := errors.AsType[*Error](err); ok && e.refusesCredentials() {
			s.refused = err
		}
		s.token = token
		if token != nil {
			// More than a few are of no use to anybody, and one that lives for a second would make many.
			s.issued = append([]string{token.AccessToken, token.RefreshToken}, s.issued[:min(len(s.issued), 8)]...)
		}
		return token, err
	})
	select {
	case result := <-fetched:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*oauth2.Token), nil
	case <-ctx.Done():
		return nil, &Error{Op: OpToken, Err: context.Cause(ctx)}
	}
}

// discard forgets a token that the server refused, unless another request has replaced it already.
func (s *tokenSource) discard(token *oauth2.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token = nil
	}
}

func (s *tokenSource) issuedTokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// scope is what the current token may do, as the server told it; "" when it did not.
func (s *tokenSource) scope() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		return ""
	}
	scope, _ := s.token.Extra("scope").(string)
	return scope
}
