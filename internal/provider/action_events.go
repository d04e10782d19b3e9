package provider

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// An action that is interrupted must say how it ended. Two things are in the way:
//
// terraform-plugin-go (v0.31) sends no event of an action once StopProvider has returned (tf6server's InvokeAction, since
// hashicorp/terraform-plugin-go#534), and Terraform takes a stream that ends without a result for success: "Apply complete!".
// So StopProvider returns only when the interrupted actions have delivered their results. There is no upstream issue yet.
//
// Terraform crashes over a progress event that comes after its interrupt (1.14, 1.15), or ignores all that follows (from 1.16
// on). So an interrupted action sends only its result.
//
// StopProvider can go when TestPluginGoDropsEventsAfterStop fails.

// stopPatience limits how long StopProvider waits for them: a second longer than the client waits for an answer to a start.
const stopPatience = 11 * time.Second

// invocations are the actions under way.
type invocations struct {
	mu       sync.Mutex
	underWay map[*invocation]struct{}
}

type invocation struct {
	interrupt context.CancelFunc
	ended     chan struct{} // closed when its last event has been sent
}

// begin returns a context that ends with interrupt.
func (i *invocations) begin(ctx context.Context) (_ context.Context, end func()) {
	ctx, interrupt := context.WithCancel(ctx)
	inv := &invocation{interrupt, make(chan struct{})}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.underWay == nil {
		i.underWay = map[*invocation]struct{}{}
	}
	i.underWay[inv] = struct{}{}
	return ctx, func() {
		interrupt()
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.underWay, inv)
		close(inv.ended)
	}
}

// interrupt ends the contexts of all that are under way, and returns a function that waits for their ends.
func (i *invocations) interrupt() (wait func(context.Context)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := slices.Collect(maps.Keys(i.underWay))
	for _, inv := range all {
		inv.interrupt()
	}
	return func(ctx context.Context) {
		for _, inv := range all {
			select {
			case <-inv.ended:
			case <-ctx.Done():
				return
			}
		}
	}
}

// InvokeAction keeps track of the action until its last event has been sent.
func (s server) InvokeAction(ctx context.Context, req *tfprotov6.InvokeActionRequest) (*tfprotov6.InvokeActionServerStream, error) {
	ctx, released := s.termination.begin(ctx)
	ctx, ended := s.invocations.begin(ctx)
	end := func() { ended(); released() }
	if ctx.Err() != nil {
		end()
		return nil, errors.New("the provider was stopped before the action began: nothing was started")
	}
	stream, err := s.ActionServer.InvokeAction(ctx, req)
	if err != nil {
		end()
		return nil, err
	}
	return &tfprotov6.InvokeActionServerStream{Events: func(push func(tfprotov6.InvokeActionEvent) bool) {
		defer end()
		unread := false
		stream.Events(func(event tfprotov6.InvokeActionEvent) bool {
			_, progress := event.Type.(tfprotov6.ProgressInvokeActionEventType)
			if !unread && !(progress && ctx.Err() != nil) {
				unread = !push(event)
			}
			return true // false would stop the drain and block the action on its next event
		})
	}}, nil
}

// StopProvider interrupts what is under way, and returns when the interrupted actions have delivered their results.
func (s server) StopProvider(ctx context.Context, req *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	wait := s.invocations.interrupt()
	resp, err := s.ProviderServer.StopProvider(ctx, req)
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	wait(ctx)
	return resp, err
}
