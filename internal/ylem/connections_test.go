package ylem_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// While a connection takes its time to be made, the requests that wanted it are served on another, and those that come
// then open no further one.
func TestNoMoreConnectionsThanRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		f := newFake(t, func(w http.ResponseWriter, r *http.Request) { <-proceed; answerJSON(lastRun)(w, r) })
		client, p := newPipeClient(t, f)
		var dials atomic.Int64
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) == 2 {
				time.Sleep(time.Hour)
				return nil, errors.New("unreachable")
			}
			return p.dial(ctx, network, addr)
		}
		client.SetTransport(&http.Transport{DialContext: dial, IdleConnTimeout: time.Hour})
		both := func() {
			t.Helper()
			done := make(chan error)
			for range 2 {
				go func() { done <- callLastRun(t.Context(), client) }()
				synctest.Wait()
			}
			for range 2 {
				proceed <- struct{}{}
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		for range 5 {
			both()
		}
		if n := dials.Load(); n != 2 {
			t.Errorf("%d connections for two requests at once, want 2", n)
		}
		time.Sleep(3 * time.Hour) // the second comes to nothing, and the first is idle too long
		for range 5 {
			both()
		}
		if n := dials.Load(); n != 4 {
			t.Errorf("%d connections after both came to an end, want 4", n)
		}
	})
}
