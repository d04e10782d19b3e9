package ylem

import (
	"context"
	"sync"
)

// flights let callers who ask for the same at the same time share one request. singleflight is not enough: there, the
// request ends with the caller who came first, or with none of them.
type flights struct {
	mu    sync.Mutex
	under map[string]*flight // under way, by what is asked for
}

type flight struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{} // closed when value and err are there
	value   any
	err     error
}

// do calls fetch, or waits for a call that is under way. A caller whose context ends leaves at once, with the cause of
// it; the call goes on for the others, and ends with the last of them.
func (f *flights) do(ctx context.Context, key string, fetch func(context.Context) (any, error)) (any, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f.mu.Lock()
	shared := f.under[key]
	if shared == nil {
		fetchCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		shared = &flight{cancel: cancel, done: make(chan struct{})}
		if f.under == nil {
			f.under = map[string]*flight{}
		}
		f.under[key] = shared
		go func() {
			defer cancel()
			shared.value, shared.err = fetch(fetchCtx)
			f.mu.Lock()
			f.forget(key, shared)
			f.mu.Unlock()
			close(shared.done)
		}()
	}
	shared.waiting++
	f.mu.Unlock()

	select {
	case <-shared.done:
		return shared.value, shared.err
	case <-ctx.Done():
		f.mu.Lock()
		defer f.mu.Unlock()
		if shared.waiting--; shared.waiting == 0 {
			shared.cancel()
			f.forget(key, shared) // who comes now must not be given the end of this one
		}
		return nil, context.Cause(ctx)
	}
}

// forget makes room for the next call, unless it is under way already. The caller holds the lock.
func (f *flights) forget(key string, shared *flight) {
	if f.under[key] == shared {
		delete(f.under, key)
	}
}
