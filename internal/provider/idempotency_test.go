package provider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

func TestWithKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ input, want, refused string }{
		"none":             {"", `{"_idempotency_key":"k/f"}`, ""},
		"white space":      {" \n", `{"_idempotency_key":"k/f"}`, ""},
		"an empty object":  {"{}", `{"_idempotency_key":"k/f"}`, ""},
		"an object":        {`{"a":1}`, `{"_idempotency_key":"k/f","a":1}`, ""},
		"other bytes stay": {"  {\n\t\"b\" : 1.0e0, \"b\":2 }\n", "  {\"_idempotency_key\":\"k/f\",\n\t\"b\" : 1.0e0, \"b\":2 }\n", ""},
		"nested":           {`{"a":{"_idempotency_key":1}}`, `{"_idempotency_key":"k/f","a":{"_idempotency_key":1}}`, ""},
		"the member":       {`{"_idempotency_key":"x"}`, "", "has a member"},
		"an array":         {`[{}]`, "", "must therefore be a JSON object"},
		"a string":         {`"{"`, "", "must therefore be a JSON object"},
		"null":             {"null", "", "must therefore be a JSON object"},
		"no JSON":          {"{", "", "must therefore be a JSON object"},
		"two objects":      {"{}{}", "", "must therefore be a JSON object"},
		"too long":         {`{"a":"` + strings.Repeat("x", ylem.MaxInput-10) + `"}`, "", "bytes, and Ylem can store 65535"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := withKey([]byte(test.input), "k/f")
			if string(got) != test.want || (err == nil) != (test.refused == "") || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func FuzzWithKey(f *testing.F) {
	for _, s := range []string{"", "{}", `{"a":1}`, " {\n}", `{"_idempotency_key":1}`, "[]", "\ufeff{}", `{"a":{}}`} {
		f.Add(s, "key")
	}
	f.Fuzz(func(t *testing.T, input, key string) {
		keyed, err := withKey([]byte(input), key)
		if err != nil {
			return
		}
		var before, after map[string]json.RawMessage
		if strings.TrimSpace(input) != "" && json.Unmarshal([]byte(input), &before) != nil || json.Unmarshal(keyed, &after) != nil {
			t.Fatalf("%q became %q", input, keyed)
		}
		if len(after) != len(before)+1 || after["_idempotency_key"] == nil {
			t.Errorf("%q became %q", input, keyed)
		}
	})
}

// triggered is a pipeline that begins with an External trigger, and has more tasks after it.
func (s *sandbox) triggered(tasks ...ylemtest.Task) string {
	trigger := ylemtest.NewUUID()
	for i := range tasks {
		tasks[i].After = append(tasks[i].After, trigger)
	}
	return s.AddPipeline(ylemtest.Pipeline{Tasks: append([]ylemtest.Task{{UUID: trigger, Type: "external_trigger"}}, tasks...)}).UUID
}

const keyed = `idempotency_key = "nightly"` + "\n"

// The key is written into the input; what makes another run of it is a change.
func TestAccKeyIsWrittenIntoTheInput(t *testing.T) {
	s := newSandbox(t)
	p := s.triggered()
	acceptance(
		t,
		s.step(t, s.run(p, keyed+"input = jsonencode({ day = \"2024-01-31\" })"), firstRun, 1),
		s.step(t, s.run(p, keyed+"input = jsonencode({ day = \"2024-01-31\" })\ntriggers = { a = 1 }"), newRun, 2), // the fingerprint has changed
		s.step(t, s.run(p, `idempotency_key = "another"`+"\ninput = jsonencode({ day = \"2024-01-31\" })\ntriggers = { a = 1 }"), newRun, 3),
		s.step(t, s.run(p, "input = jsonencode({ day = \"2024-01-31\" })\ntriggers = { a = 1 }"), inPlace, 3),
	)
	seen := map[string]bool{}
	for _, run := range s.Runs(p) {
		if !regexp.MustCompile(`^\{"_idempotency_key":"(nightly|another)/[0-9a-f]{12}","day":"2024-01-31"\}$`).Match(run.Input) || seen[string(run.Input)] {
			t.Errorf("input %s", run.Input)
		}
		seen[string(run.Input)] = true
	}
}

// A start whose answer is lost is found in the log, without an error.
func TestAccKeyResolvesDoubt(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]ylemtest.Fault{
		"no answer":    {Drop: true, After: true},
		"502":          {Status: 502, After: true},
		"garbage":      {Body: "<html>", After: true},
		"body cut":     {Truncate: 10, After: true},
		"rolled back?": ylemtest.DeadlockFault(1), // nothing was started
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			p := s.triggered()
			fault.Route = ylemtest.RouteRun
			s.Inject(fault)
			tf := newTerraform(t, s.run(p, keyed+"wait_for_completion = true\ncompletion = { poll_interval = \"100ms\", quiet_period = \"200ms\" }"))
			tf.mustRun(t, 0, "apply", "-auto-approve")
			if n := len(s.Runs(p)); n != 1 {
				t.Errorf("%d runs", n)
			}
			tf.mustRun(t, 0, "plan", "-detailed-exitcode")
		})
	}
}

// Whatever keeps the run out of the state, the next apply finds it and starts no other.
func TestAccKeyFindsALostRun(t *testing.T) {
	t.Parallel()
	t.Run("killed provider", func(t *testing.T) {
		t.Parallel()
		i := newKeyed(t)
		b := i.applyUntilPolled(t)
		b.signalProvider(t, os.Kill)
		_, _ = b.wait(t)
		i.adopts(t)
	})
	t.Run("killed terraform", func(t *testing.T) {
		t.Parallel()
		i := newKeyed(t)
		b := i.applyUntilPolled(t)
		b.signalProvider(t, os.Kill)
		b.Kill()
		_, _ = b.wait(t)
		_ = os.Remove(i.dir + "/.terraform.tfstate.lock.info")
		i.adopts(t)
	})
	t.Run("lost state", func(t *testing.T) {
		t.Parallel()
		i := newKeyed(t)
		i.mustRun(t, 1, "apply", "-auto-approve") // the timeout
		i.mustRun(t, 0, "state", "rm", runAddress)
		i.adopts(t)
	})
	t.Run("tainted after a timeout", func(t *testing.T) {
		t.Parallel()
		i := newKeyed(t)
		_, stderr, code := i.run(t, "apply", "-auto-approve")
		if code != 1 || !loosely("The next apply finds the run by its idempotency key and resumes waiting").MatchString(stderr) {
			t.Errorf("exit code %d\n%s", code, stderr)
		}
		i.adopts(t)
	})
}

// keyedRun is a run with a key whose last task takes an hour.
type keyedRun struct {
	*terraform
	sandbox  *sandbox
	clock    *ylemtest.Clock
	pipeline string
}

func newKeyed(t *testing.T) *keyedRun {
	t.Helper()
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	p := s.triggered(ylemtest.Task{Duration: time.Hour})
	config := func(timeout string) string {
		return s.run(p, keyed+fmt.Sprintf("wait_for_completion = true\ncompletion = { poll_interval = \"100ms\", final_task_uuids = [%q] }\ntimeouts { create = %q }", s.tasks(p)[1], timeout))
	}
	return &keyedRun{newTerraform(t, config("5s")), s, clock, p}
}

// applyUntilPolled starts an apply that has started the run and waits for it, and whose trigger has reported.
func (k *keyedRun) applyUntilPolled(t *testing.T) *background {
	t.Helper()
	b := k.start(t, "apply", "-auto-approve")
	b.eventually(t, "the wait polls", func() bool { return len(k.sandbox.Runs(k.pipeline)) == 1 && k.sandbox.count(ylemtest.RouteLogs) > 2 })
	return b
}

func (k *keyedRun) adopts(t *testing.T) {
	t.Helper()
	k.clock.Advance(2 * time.Hour)
	output := k.mustRun(t, 0, "apply", "-auto-approve")
	runs := k.sandbox.Runs(k.pipeline)
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	if !loosely("A run with this idempotency key was adopted").MatchString(output) || !strings.Contains(output, runs[0].UUID) {
		t.Errorf("does not name the run:\n%s", output)
	}
	k.mustRun(t, 0, "plan", "-detailed-exitcode")
}

// What failed is not adopted, and neither is a run that is older than a day or has another key.
func TestAccKeyDoesNotAdoptWhatFailed(t *testing.T) {
	s := newSandbox(t)
	p := s.triggered(ylemtest.Task{Errors: []ylemtest.TaskError{{Message: "boom"}}})
	tf := newTerraform(t, s.run(p, keyed+waitingNow))
	tf.mustRun(t, 1, "apply", "-auto-approve")
	tf.mustRun(t, 1, "apply", "-auto-approve")
	if n := len(s.Runs(p)); n != 2 {
		t.Errorf("%d runs", n)
	}
}

func TestAccKeysOfOneStateDiffer(t *testing.T) {
	s := newSandbox(t)
	p := s.triggered()
	tf := newTerraform(t, s.config(fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  count           = 2
  pipeline_uuid   = %q
  idempotency_key = "same"
}
`, p)))
	_, stderr, code := tf.run(t, "apply", "-auto-approve")
	if code != 1 || !loosely("Two resources have the same idempotency key").MatchString(stderr) || len(s.Runs(p)) != 1 {
		t.Errorf("exit code %d, %d runs\n%s", code, len(s.Runs(p)), stderr)
	}
}

// A key costs one request for the log.
func TestAccKeyCostsOneRequest(t *testing.T) {
	s := newSandbox(t)
	p := s.triggered()
	newTerraform(t, s.run(p, keyed)).mustRun(t, 0, "apply", "-auto-approve")
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteLogs: 1, ylemtest.RouteRun: 1})()
}

// Many starts of one pipeline share what they read of its log.
func TestAccKeysShareTheLog(t *testing.T) {
	s := newSandbox(t)
	s.SetLatency(20 * time.Millisecond)
	p := s.triggered()
	newTerraform(t, s.config(fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  count           = 20
  pipeline_uuid   = %q
  idempotency_key = "day-${count.index}"
}
`, p))).mustRun(t, 0, "apply", "-auto-approve", "-parallelism=20")
	if runs, logs := s.count(ylemtest.RouteRun), s.count(ylemtest.RouteLogs); runs != 20 || logs >= 20 {
		t.Errorf("%d runs and %d requests for the log", runs, logs)
	}
}

func TestKeysThatCannotWork(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.connect(t, nil)
	for name, test := range map[string]struct {
		arguments object
		says      string
	}{
		"an empty key":      {object{"idempotency_key": ""}, "1 to 200 characters"},
		"a long key":        {object{"idempotency_key": strings.Repeat("k", 201)}, "1 to 200 characters"},
		"a line break":      {object{"idempotency_key": "a\nb"}, "line break"},
		"an array":          {object{"idempotency_key": "k", "input": "[]"}, "must therefore be a JSON object"},
		"text":              {object{"idempotency_key": "k", "input": "text"}, "must therefore be a JSON object"},
		"the member":        {object{"idempotency_key": "k", "input": `{"_idempotency_key":1}`}, "has a member"},
		"a write-only text": {object{"idempotency_key": "k", "input_wo": "text"}, "must therefore be a JSON object"},
	} {
		_, diags := p.create(t, object{"pipeline_uuid": ylemtest.NewUUID()}.with(test.arguments))
		diags.expectError(t, "idempotency_key", test.says)
		if name == "a write-only text" && strings.Contains(diags.String(), "text\"") {
			t.Error(diags)
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// A pipeline without an External trigger never shows its input.
func TestKeyWithoutATriggerWarns(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	_, diags := s.connect(t, nil).create(t, object{
		"pipeline_uuid": p, "idempotency_key": "k", "wait_for_completion": true,
		"completion": object{"final_task_uuids": []any{s.tasks(p)[0]}, "poll_interval": "100ms"},
	})
	if diags.failed() || !strings.Contains(diags.String(), "The idempotency key had no effect") {
		t.Error(diags)
	}
}

// Without a key nothing is adopted, but the runs that may be meant are named.
func TestDoubtNamesCandidates(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.triggered()
	older, other := s.AddRun(p, time.Now().Add(-time.Hour)), s.AddRun(p, time.Now().Add(2*time.Second))
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteRun, Status: http.StatusBadGateway, After: true, Stall: 3 * time.Second})
	_, diags := s.connect(t, nil).create(t, object{"pipeline_uuid": p, "input": `{"a":1}`})
	mine := s.Runs(p)[0].UUID
	diags.expectError(t, "pipeline_uuid", "The run may have been started",
		fmt.Sprintf("terraform import ADDRESS %s/%s  # the same input", p, mine), fmt.Sprintf("terraform import ADDRESS %s/%s\n", p, other.UUID))
	text := diags.String()
	if strings.Contains(text, older.UUID) || strings.Index(text, mine) > strings.Index(text, other.UUID) {
		t.Error(text)
	}
}
