package request_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// Callers who ask for the same at the same time share a request, and its failure; who asks afterwards gets a new one.
func TestRequestsInFlightAreShared(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		fails  bool
	}{
		"success": {fake.AnswerJSON(fake.LastRun), false},
		"failure": {fake.Answer(http.StatusNotFound, ""), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				proceed := make(chan struct{})
				f := fake.New(t, func(w http.ResponseWriter, r *http.Request) { <-proceed; test.answer(w, r) })
				client, _ := fake.NewPipeClient(t, f)
				const n = 20
				var wg sync.WaitGroup
				for range n {
					wg.Go(func() {
						if err := fake.Calls["last run"](t.Context(), client, fake.PipelineUUID); (err != nil) != test.fails {
							t.Error(err)
						}
					})
				}
				var other error
				wg.Go(func() { _, other = client.LastRun(t.Context(), ylem.Tasks, fake.PipelineUUID) })
				synctest.Wait()
				close(proceed)
				wg.Wait()
				if got := len(f.Calls()); got != 2 || (other != nil) != test.fails { // another subject is another request
					t.Errorf("%d calls, want 2; error %v", got, other)
				}
				_ = fake.Calls["last run"](t.Context(), client, fake.PipelineUUID)
				if got := len(f.Calls()); got != 3 {
					t.Errorf("%d calls, want 3", got)
				}
			})
		})
	}
}

// Who gives up leaves at once and disturbs nobody; the request ends with the last who waits for it, and who comes then
// is not given its end.
func TestSharedRequestEndsWithTheLastCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{}, 1)
		proceed := make(chan struct{})
		f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
				ended <- struct{}{}
			case <-proceed:
				fake.AnswerJSON(fake.LastRun)(w, r)
			}
		})
		client, _ := fake.NewPipeClient(t, f)
		errs := make([]error, 3)
		cancels := make([]context.CancelFunc, 3)
		for i := range errs {
			ctx, cancel := context.WithCancel(t.Context())
			cancels[i] = cancel
			go func() { errs[i] = fake.Calls["last run"](ctx, client, fake.PipelineUUID) }()
			synctest.Wait()
		}
		for i, cancel := range cancels {
			if len(ended) != 0 {
				t.Fatalf("the request ended, although %d wait for it", len(cancels)-i)
			}
			cancel()
			synctest.Wait()
			if e := fake.AsError(t, errs[i]); !errors.Is(e, context.Canceled) || e.Op != request.OpLastRun || e.URL == "" {
				t.Errorf("caller %d has the error %v", i, errs[i])
			}
		}
		if len(ended) != 1 || len(f.Calls()) != 1 {
			t.Errorf("%d calls, the last of which ended: %t", len(f.Calls()), len(ended) == 1)
		}
		close(proceed)
		if err := fake.Calls["last run"](t.Context(), client, fake.PipelineUUID); err != nil {
			t.Error(err)
		}
	})
}
