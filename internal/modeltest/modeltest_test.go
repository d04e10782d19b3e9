// Package modeltest proves what the provider promises about runs: a model of Terraform's own rules drives the real provider
// through its protocol, against the sandbox, in random histories of configurations, applies, faults, interrupts and kills.
// Each history happens in a bubble of testing/synctest, over connections in memory.
//
// A history is data, made from a seed (history_test.go), so that one that fails is shrunk step by step and printed. What
// Terraform does is in terraform_test.go and value_test.go, what can happen to Ylem and the network in ylem_test.go and
// world_test.go, and what must hold in invariants_test.go. To play one again:
//
//	go test -race -v -run TestHistories ./internal/modeltest -seed=42
//
// The model has no create_before_destroy, no actions and no SIGTERM: to a provider whose signals are left alone, that is
// Terraform's own interrupt.
package modeltest

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	histories = flag.Int("histories", 2000, "number of histories of TestHistories, half of them the same each time")
	seed      = flag.Uint64("seed", 0, "play only the history of this seed")
)

// TestMain lets the garbage collector do less: a history needs little memory, and there are thousands.
func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(1500)
	os.Exit(m.Run())
}

// No history violates an invariant.
func TestHistories(t *testing.T) {
	t.Parallel()
	s := newSchema(t)
	random := rand.Uint64() >> 1
	seeds := func(i int) uint64 {
		if i < *histories/2 {
			return uint64(i + 1)
		}
		return random + uint64(i)
	}
	n := *histories
	if *seed != 0 {
		n, seeds = 1, func(int) uint64 { return *seed }
	} else {
		t.Logf("%d histories, half of them from random seeds, which begin with %d", n, random+uint64(n/2))
	}

	began := time.Now()
	counts := map[string]int{}
	var mu sync.Mutex
	var next atomic.Int64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				h := newHistory(seeds(i))
				bad, trace, seen := play(t, s, h)
				mu.Lock()
				for name, count := range seen {
					counts[name] += count
				}
				mu.Unlock()
				if bad != nil && failed.CompareAndSwap(false, true) {
					report(t, s, seeds(i), h, bad, trace)
				}
				if *seed != 0 {
					t.Logf("%s\n%s", h, strings.Join(trace, "\n"))
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d histories in %s", min(int(next.Load()), n), time.Since(began).Round(time.Millisecond))
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%6d %s", counts[name], name)
	}
	if n < 2000 || t.Failed() {
		return
	}
	// What never happens proves nothing.
	for _, name := range []string{
		"doubts with a run", "doubts without a run", "repeated run requests", "runs of a killed creation", "certain", "guesses", "reopened",
		"clean refreshes", "second plans", "imports", "replaced: it has failed", "replaced: another input", "replaced: other triggers", "replaced: it is tainted",
		"adopted by key", "creations with a key", "status pending", "status running", "status succeeded", "status failed", "adopted",
	} {
		if counts[name] == 0 {
			t.Errorf("no history has any of: %s", name)
		}
	}
}

// report shrinks a history that fails, and fails the test with it.
func report(t *testing.T, s *schema, seed uint64, h history, bad *violation, trace []string) {
	deadline := time.Now().Add(40 * time.Second)
	short := shrink(h, func(h history) bool {
		again, _, _ := play(t, s, h)
		return again != nil && again.invariant == bad.invariant
	}, func() bool { return time.Now().After(deadline) })
	if again, shorter, _ := play(t, s, short); again != nil {
		bad, trace = again, shorter
	}
	t.Errorf("The history of -seed=%d violates invariant %d: %s\n%s\n\nShrunk:\n%s\nWhat happened:\n%s\n%s", seed, bad.invariant, invariants[bad.invariant], bad.what,
		short, strings.Join(trace, "\n"), fmt.Sprintf("Violated: %s", bad.what))
}
