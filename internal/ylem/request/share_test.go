package request_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

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

// Who gives up leaves at once and disturbs no one else; the request ends with the last who waits for it, and who comes then
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

// A call that everyone has left may take a while to end. Who comes meanwhile gets a call of their own, and the end of the
// first one does not take it from them.
func TestFlightThatEveryoneLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var flights request.Flights[int]
		var calls atomic.Int64
		release := []chan struct{}{make(chan struct{}), make(chan struct{})}
		call := func(ctx context.Context) (int, error) {
			return flights.Do(ctx, "key", 0, nil, func(ctx context.Context) (int, error) {
				n := int(calls.Add(1))
				<-release[n-1] // whether it was canceled or not
				return n, ctx.Err()
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = call(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()

		var group sync.WaitGroup
		later := func() {
			group.Go(func() {
				if n, err := call(t.Context()); n != 2 || err != nil {
					t.Errorf("call %d, %v", n, err)
				}
			})
			synctest.Wait()
		}
		later()
		close(release[0]) // the first call ends
		synctest.Wait()
		later() // joins the second
		close(release[1])
		group.Wait()
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

// A kept result is used while it is young enough and fits, and the time that it is kept is its own.
func TestFlightsKeepResults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		flights := request.Flights[int]{Keep: time.Minute}
		calls := 0
		call := func(maxAge time.Duration, least int) int {
			n, err := flights.Do(t.Context(), "key", maxAge, func(n int) bool { return n >= least }, func(context.Context) (int, error) {
				calls++
				return calls, nil
			})
			if err != nil {
				t.Error(err)
			}
			return n
		}
		for _, step := range []struct {
			pause, maxAge time.Duration
			least, want   int
		}{
			{0, 0, 0, 1},
			{50 * time.Second, time.Minute, 0, 1},
			{0, 50 * time.Second, 0, 2},                // too old
			{0, time.Minute, 3, 3},                     // does not fit
			{20 * time.Second, 30 * time.Second, 0, 3}, // the timer of the first result is over
			{45 * time.Second, time.Hour, 0, 4},        // no longer kept
		} {
			time.Sleep(step.pause)
			synctest.Wait()
			if got := call(step.maxAge, step.least); got != step.want {
				t.Errorf("got result %d, want %d", got, step.want)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := flights.Kept(); n != 0 {
			t.Errorf("%d results are kept", n)
		}
	})
}

// A result that was replaced is not kept any longer.
func TestReplacedResultsAreFreed(t *testing.T) {
	t.Parallel()
	flights := request.Flights[*[1 << 20]byte]{Keep: time.Hour}
	var first weak.Pointer[[1 << 20]byte]
	for i := range 2 {
		value, err := flights.Do(t.Context(), "key", 0, nil, func(context.Context) (*[1 << 20]byte, error) { return new([1 << 20]byte), nil })
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = weak.Make(value)
		}
	}
	for deadline := time.Now().Add(time.Minute); first.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("the replaced result is still held")
		}
	}
	runtime.KeepAlive(&flights)
}
