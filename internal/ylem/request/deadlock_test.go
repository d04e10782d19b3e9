package request_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// deadlock is how the open-source server answers when its database has rolled the run back.
var deadlock = fake.Answer(http.StatusInternalServerError, "", "Content-Type", fake.TypeJSON)

// Only the exact answer proves that nothing was started. What is similar comes from a proxy or from another service.
func TestWhatIsNoDeadlock(t *testing.T) {
	t.Parallel()
	unmeasured := func(w http.ResponseWriter, _ *http.Request) { // no Content-Length
		w.Header().Set("Content-Type", fake.TypeJSON)
		w.WriteHeader(http.StatusInternalServerError)
		_ = http.NewResponseController(w).Flush()
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		exact  bool
	}{
		"exact":              {deadlock, true},
		"a body":             {fake.Answer(500, `{"code":500,"message":"Internal error"}`, "Content-Type", fake.TypeJSON), false},
		"a space":            {fake.Answer(500, " ", "Content-Type", fake.TypeJSON), false},
		"an unknown length":  {unmeasured, false},
		"no type":            {fake.Answer(500, ""), false},
		"no charset":         {fake.Answer(500, "", "Content-Type", "application/json"), false},
		"another type":       {fake.Answer(500, "", "Content-Type", fake.TypeText), false},
		"of a dead upstream": {fake.Answer(502, "", "Content-Type", fake.TypeJSON), false},
		"503":                {fake.Answer(503, "", "Content-Type", fake.TypeJSON), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := fake.New(t, test.answer)
				client, _ := fake.NewPipeClient(t, f)
				_, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
				e, want := fake.AsError(t, err), 1
				if test.exact {
					want = 3
				}
				if got := len(f.Calls()); got != want || e.Deadlock != test.exact || e.MaybeStarted == test.exact {
					t.Errorf("%d requests, want %d; deadlock: %t, maybe started: %t", got, want, e.Deadlock, e.MaybeStarted)
				}
			})
		})
	}
}

// A repeat meets no other start of this client. The others wait for it, and each run is started once.
func TestDeadlocksAreRepeatedAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const runs, slots = 12, 4
		var mu sync.Mutex
		inFlight, most := 0, 0
		attempts, met := map[string]int{}, map[string]int{} // by path; the others that its last attempt met
		f := fake.New(t, nil)
		f.API = func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			attempts[r.URL.Path]++
			first := attempts[r.URL.Path] == 1
			inFlight++
			most = max(most, inFlight)
			met[r.URL.Path] = inFlight - 1
			mu.Unlock()
			time.Sleep(400 * time.Millisecond) // others come meanwhile, and repeats of others are due
			mu.Lock()
			if !first && inFlight > 1 {
				met[r.URL.Path] = inFlight - 1
			}
			inFlight--
			mu.Unlock()
			if first {
				deadlock(w, r)
				return
			}
			fake.Answer(http.StatusCreated, fake.StartedRun, "Content-Type", fake.TypeJSON)(w, r)
		}
		client, _ := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.RetryWait, cfg.MaxConcurrentRuns = 0, slots })
		var group sync.WaitGroup
		for i := range runs {
			group.Go(func() {
				if _, err := client.RunPipeline(t.Context(), fmt.Sprintf("10000000-0000-4000-8000-%012d", i), ylem.Input{}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if most != slots {
			t.Errorf("at most %d requests at once, want %d", most, slots)
		}
		for path, n := range attempts {
			if n != 2 || met[path] != 0 {
				t.Errorf("%s: %d requests, the second beside %d others", path, n, met[path])
			}
		}
	})
}

// Whoever gives up during the pause has not started a run, and is not the victim of a deadlock without end.
func TestDeadlockThatIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(t, deadlock)
		client, _ := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.RetryWait = 0 })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := client.RunPipeline(ctx, fake.PipelineUUID, ylem.Input{})
		if e := fake.AsError(t, err); !errors.Is(err, context.DeadlineExceeded) || e.Deadlock || e.MaybeStarted || len(f.Calls()) != 1 {
			t.Errorf("%+v after %d requests", e, len(f.Calls()))
		}
	})
}

// Clients that were rolled back together must not come back together: the pauses are random, and grow.
func TestPausesAfterDeadlocks(t *testing.T) {
	t.Parallel()
	var firsts []time.Duration
	for range 5 {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
				at = append(at, time.Now())
				deadlock(w, r)
			})
			client, _ := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.RetryWait, cfg.MaxRetries = 0, 4 })
			if _, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{}); err == nil || len(at) != 5 {
				t.Fatalf("%v after %d requests", err, len(at))
			}
			for i := range at[1:] {
				pause, mean := at[i+1].Sub(at[i]), 500*time.Millisecond<<i
				if pause < mean/2 || pause > mean*3/2 {
					t.Errorf("pause %d is %s, want %s, half of it more or less", i, pause, mean)
				}
			}
			firsts = append(firsts, at[1].Sub(at[0]))
		})
	}
	if slices.Sort(firsts); len(slices.Compact(firsts)) == 1 {
		t.Errorf("each pause is %s", firsts[0])
	}
}
