package provider

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// waitingAction waits for a run that does not end.
func (s *sandbox) waitingAction() (pipeline string, arguments object) {
	pipeline = s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID
	return pipeline, object{"pipeline_uuid": pipeline, "wait_for_completion": true, "completion": object{"poll_interval": "100ms"}}
}

func TestStoppedActionDeliversItsResult(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline, arguments := s.waitingAction()
	p := s.connect(t, nil)
	w := serveOnWire(t, p.server)
	i := w.invoke(t.Context(), t, p.actionType(), arguments)
	if progress, _, _, err := i.next(t); err != nil || !strings.HasPrefix(progress, "Started run") {
		t.Fatalf("%q, %v", progress, err)
	}
	eventually(t, "the run is polled", func() bool { return s.count(ylemtest.RouteLogs) > 0 })
	w.stop(t)
	_, completed, diags := i.rest(t)
	if !completed {
		t.Fatal("the action ended without a result, which Terraform takes for success")
	}
	diags.expectError(t, "", "Stopped waiting for the run", s.Runs(pipeline)[0].UUID, "check this one in Ylem")
}

func TestStoppedActionNamesTheRunThatIsStartedMeanwhile(t *testing.T) {
	t.Parallel()
	for summary, more := range map[string]object{
		"Stopped waiting for the run": nil,
		"Interrupted":                 {"wait_for_completion": nil, "completion": nil},
	} {
		t.Run(summary, func(t *testing.T) {
			t.Parallel()
			stopWhileStarting(t, summary, more)
		})
	}
}

func stopWhileStarting(t *testing.T, summary string, more object) {
	t.Helper()
	s := newSandbox(t)
	pipeline, arguments := s.waitingAction()
	arguments = arguments.with(more)
	g := newGate(t, s, http.MethodPost)
	p := s.connect(t, object{"api_url": g.url})
	own := p.server.(server)
	interrupted := make(chan struct{})
	own.ProviderServer = reportStop{own.ProviderServer, interrupted}
	w := serveOnWire(t, own)
	i := w.invoke(t.Context(), t, p.actionType(), arguments)
	eventually(t, "the run is asked for", func() bool { return len(g.arrived) == 1 })
	stopped := make(chan struct{})
	go func() { defer close(stopped); w.stop(t) }()
	<-interrupted
	close(g.release)
	messages, completed, diags := i.rest(t)
	<-stopped
	if !completed || len(s.Runs(pipeline)) != 1 {
		t.Fatalf("completed: %t, %d runs", completed, len(s.Runs(pipeline)))
	}
	run := s.Runs(pipeline)[0].UUID
	// Terraform 1.15 crashes over progress after its interrupt, and newer ones ignore all that follows.
	expectProgress(t, messages)
	diags.expectError(t, "", summary, run, "check this one in Ylem")
}

// reportStop closes a channel when everything has been interrupted.
type reportStop struct {
	tfprotov6.ProviderServer
	interrupted chan<- struct{}
}

func (r reportStop) StopProvider(ctx context.Context, req *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	defer close(r.interrupted)
	return r.ProviderServer.StopProvider(ctx, req)
}

// When this test fails, action_events.go can go.
func TestPluginGoDropsEventsAfterStop(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	_, arguments := s.waitingAction()
	p := &protocol{server: providerserver.NewProtocol6(&ylemProvider{version: "test"})()}
	var err error
	if p.schema, err = p.server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{}); err != nil {
		t.Fatal(err)
	}
	p.configure(t, s.arguments())
	// Which comes first, the result or the end of terraform-plugin-go's context, is a race. Here it is the context.
	w := serveOnWire(t, slowEnd{p.server, p.server.(tfprotov6.ActionServer)})
	i := w.invoke(t.Context(), t, p.actionType(), arguments)
	eventually(t, "the run is polled", func() bool { return s.count(ylemtest.RouteLogs) > 0 })
	w.stop(t)
	if _, completed, diags := i.rest(t); completed {
		t.Errorf("terraform-plugin-go delivers results after StopProvider: action_events.go can go%s", diags)
	}
}

// slowEnd holds an action's result back until the context that the server was given has ended.
type slowEnd struct {
	tfprotov6.ProviderServer
	tfprotov6.ActionServer
}

func (s slowEnd) InvokeAction(ctx context.Context, req *tfprotov6.InvokeActionRequest) (*tfprotov6.InvokeActionServerStream, error) {
	stream, err := s.ActionServer.InvokeAction(ctx, req)
	if err != nil {
		return nil, err
	}
	return &tfprotov6.InvokeActionServerStream{Events: func(push func(tfprotov6.InvokeActionEvent) bool) {
		for event := range stream.Events {
			if _, end := event.Type.(tfprotov6.CompletedInvokeActionEventType); end {
				<-ctx.Done()
			}
			if !push(event) {
				return
			}
		}
	}}, nil
}

func TestActionThatIsStoppedBeforeItBeginsStartsNothing(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline, arguments := s.waitingAction()
	p := s.connect(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.server.(tfprotov6.ActionServer).InvokeAction(ctx, &tfprotov6.InvokeActionRequest{
		ActionType: actionName, Config: toDynamic(t, p.actionType(), arguments),
	})
	if err == nil || !strings.Contains(err.Error(), "nothing was started") {
		t.Error(err)
	}
	if n := len(s.Runs(pipeline)); n != 0 {
		t.Errorf("%d runs", n)
	}
}

// The framework's action blocks for ever on the next event once its reader has gone away. So it never hears of that.
func TestActionEndsWhenItsEventsAreNotRead(t *testing.T) {
	t.Parallel()
	framework := &fewEvents{}
	s := newServer(&ylemProvider{version: "test"})
	s.ActionServer = framework
	stream, err := s.InvokeAction(t.Context(), &tfprotov6.InvokeActionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for range stream.Events {
		read++
		break
	}
	if read != 1 || framework.sent != 3 {
		t.Errorf("%d events were read and %d sent, want 1 and 3", read, framework.sent)
	}
}

// fewEvents sends three events, unless there is no reader for them.
type fewEvents struct {
	tfprotov6.ActionServer
	sent int
}

func (f *fewEvents) InvokeAction(context.Context, *tfprotov6.InvokeActionRequest) (*tfprotov6.InvokeActionServerStream, error) {
	return &tfprotov6.InvokeActionServerStream{Events: func(push func(tfprotov6.InvokeActionEvent) bool) {
		for range 3 {
			f.sent++
			if !push(tfprotov6.InvokeActionEvent{Type: tfprotov6.ProgressInvokeActionEventType{}}) {
				return
			}
		}
	}}, nil
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(&ylemProvider{version: "test"})
		_, end := s.invocations.begin(t.Context()) // that does not end
		defer end()
		before := time.Now()
		if _, err := s.StopProvider(t.Context(), &tfprotov6.StopProviderRequest{}); err != nil {
			t.Error(err)
		}
		if took := time.Since(before); took != stopPatience {
			t.Errorf("took %s", took)
		}
	})
}
