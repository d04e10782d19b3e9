package request

import (
	"context"
	"sync"
	"time"
)

// Flights shares calls among callers who ask for the same thing at the same time, and can keep each result for a
// while. Its zero value is ready and keeps nothing.
//
// golang.org/x/sync/singleflight is not enough: there, a call ends with the caller who came first, or with none of them.
type Flights[V any] struct {
	Keep time.Duration // how long a result is kept

	mu      sync.Mutex
	flights map[string]*flight[V] // in the air or kept, by key
}

type flight[V any] struct {
	callers int
	cancel  context.CancelFunc
	done    chan struct{} // closed once the fields below are set
	value   V
	err     error
	landed  time.Time
	keeping *time.Timer // forgets the result; nil while the call is running, and if it is not kept
}

// Do returns what a kept or running call for the key returns if it fits, and otherwise calls fetch. A kept result fits
// if it is younger than maxAge and, unless it is an error, fits says so; a nil fits accepts everything.
//
// A caller whose context ends leaves at once with the cause; the call continues for the others and ends with the last of
// them.
func (f *Flights[V]) Do(ctx context.Context, key string, maxAge time.Duration, fits func(V) bool, fetch func(context.Context) (V, error)) (V, error) {
	for {
		if ctx.Err() != nil {
			var none V
			return none, context.Cause(ctx)
		}
		shared, own := f.board(ctx, key, maxAge, fits, fetch)
		select {
		case <-shared.done:
			if own || shared.err != nil || fits == nil || fits(shared.value) {
				return shared.value, shared.err
			}
		case <-ctx.Done():
			f.leave(key, shared)
			var none V
			return none, context.Cause(ctx)
		}
	}
}

// board joins a flight, or starts one.
func (f *Flights[V]) board(ctx context.Context, key string, maxAge time.Duration, fits func(V) bool, fetch func(context.Context) (V, error)) (shared *flight[V], own bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	shared = f.flights[key]
	if shared != nil {
		select {
		case <-shared.done:
			if time.Since(shared.landed) >= maxAge || shared.err == nil && fits != nil && !fits(shared.value) {
				shared = nil
			}
		default:
		}
	}
	if shared == nil {
		own = true
		fetchCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		shared = &flight[V]{cancel: cancel, done: make(chan struct{})}
		if f.flights == nil {
			f.flights = map[string]*flight[V]{}
		}
		if kept := f.flights[key]; kept != nil && kept.keeping != nil {
			kept.keeping.Stop() // so that two results are never held at once
		}
		f.flights[key] = shared
		go func() {
			defer cancel()
			value, err := fetch(fetchCtx)
			f.land(key, shared, value, err)
		}()
	}
	shared.callers++
	return shared, own
}

func (f *Flights[V]) land(key string, shared *flight[V], value V, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	shared.value, shared.err, shared.landed = value, err, time.Now()
	close(shared.done)
	if f.Keep <= 0 {
		f.forget(key, shared)
		return
	}
	shared.keeping = time.AfterFunc(f.Keep, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.forget(key, shared)
	})
}

// leave ends the flight if it was the last caller: who comes now must not get the error of its end.
func (f *Flights[V]) leave(key string, shared *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if shared.callers--; shared.callers == 0 {
		shared.cancel()
		f.forget(key, shared)
	}
}

// forget makes room for the next flight, unless that has taken the place already. The caller holds the lock.
func (f *Flights[V]) forget(key string, shared *flight[V]) {
	if f.flights[key] == shared {
		delete(f.flights, key)
	}
}

// Kept is the number of results that are kept or under way.
func (f *Flights[V]) Kept() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flights)
}
