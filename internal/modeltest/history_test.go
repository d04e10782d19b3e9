package modeltest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"
)

// history is what happens, from the outside: to the configuration, to Terraform and its processes, to the network and to
// Ylem. All of it is data, so that it can be printed, and shrunk when it fails.
type history struct {
	Ylem  ylem
	Steps []step
}

// ylem is how Ylem and the provider are set up.
type ylem struct {
	Reference   bool // the dialect
	TaskRunner  bool // one for all pipelines
	Deadlocks   bool // of first runs
	ShortTokens bool
	Hurry       bool // no second plan follows an apply
	Remote      bool // Terraform's state is stored remotely: a killed terraform loses what it wrote during an apply
	Latency     int  // of latencies
	Retries     int
	Pipelines   [2]pipeline
}

var latencies = []time.Duration{time.Millisecond, 200 * time.Millisecond, 3 * time.Second}

// pipeline is the shape of a pipeline: a chain of tasks.
type pipeline struct {
	Tasks    int  // one more than this
	Slow     int  // of durations: how long the last task takes
	Fails    int  // the task that fails, from 1; 0: none
	Trigger  bool // begins with an External trigger
	ForEach  bool // the first task is a for-each over two items
	Late     int  // of durations: how much later than the end the last task's row comes
	Vanishes int  // of durations: how long the rows can be seen; 0: always
	Copies   bool // the last task's row comes three times, and is merged after a minute
	Unended  bool // the last task never reports
	NoResult bool // the last task's row has no outcome
	Behind   bool // the tasks' clock is two minutes behind
}

var durations = []time.Duration{20 * time.Millisecond, 4 * time.Second, 45 * time.Second, 4 * time.Minute, 2 * time.Hour, 20 * time.Hour}

// config is the configuration of one resource.
type config struct {
	Pipeline   int
	Upper      bool // its UUID is in upper case
	Input      int  // 0: none; otherwise its version
	Secret     bool // it is input_wo
	Key        int  // 0: none; otherwise which idempotency_key
	Triggers   int  // 0: none; 1: empty; otherwise a value
	Wait       bool
	Completion int // of completions
	Warn       bool
	WarnLate   bool
	Timeout    int // of timeouts
	Unknown    int // of unknowns: what is only known after apply
}

var completions = []string{"none", "quiet_period 30s", "quiet_period 3m", "the last task is final", "the first task is final", "all tasks are final", "a foreign task is final"}

var timeouts = []string{"", "2m", "6m"}

var unknowns = []string{"nothing", "on_failure", "wait_for_completion", "completion", "final_task_uuids", "input", "triggers", "on_timeout", "idempotency_key"}

// kind is what a step does.
type kind int

const (
	doApply kind = iota
	doPlan
	doApplySaved
	doRefresh
	doDestroy
	doConfigure
	doRemove
	doPass
	doFaultRun
	doFaultRead
	doFaultToken
	doRefuse
	doService
	doRepair
	doLoseRows
	doMerge
	doChangePipeline
	doPause
	doOtherRun
	doStateRm
	doImport
	doTaint
	doUntaint
	doReplace
	doLoseState
)

// step is one step of a history. Which fields count depends on what it does.
type step struct {
	Do       kind
	Resource int // of addresses
	A, B     int
	Pass     int // of pauses
	Config   config
	Shape    pipeline
	Incident incident
}

var addresses = []string{"a", "b"}

var pauses = []time.Duration{time.Second, 20 * time.Second, 2 * time.Minute, 10 * time.Minute, 3 * time.Hour, 23*time.Hour + 59*time.Minute, 30 * time.Hour, 8 * 24 * time.Hour}

type point int

const (
	beforeCall point = iota
	duringCall
	afterCall
)

type incidentKind int

const (
	nothing incidentKind = iota
	interrupt
	interruptThenKill
	killProvider
	killTerraform
	killBoth
	cutConnections
	forgetConnections
	loseSessions
	expireTokens
	incidentKinds
)

// incident is what happens in the middle of a command.
type incident struct {
	Kind  incidentKind
	Point point
	Call  int // before, during or after which call of the provider; 0: the first that starts a run or may wait for one
	After time.Duration
}

// offsets are how long after the beginning of a call something happens: never when anything else does.
var offsets = []time.Duration{
	0, 500 * time.Microsecond, 100*time.Millisecond + 300*time.Microsecond, time.Second + 300*time.Microsecond,
	4*time.Second + 300*time.Microsecond, 31*time.Second + 300*time.Microsecond, 3*time.Minute + 300*time.Microsecond,
}

func (i incident) String() string {
	return []string{
		"nothing", "SIGINT", "SIGINT, and 7.5 s later SIGKILL,", "kill -9 of the provider", "kill -9 of terraform", "kill -9 of both", "all connections are cut",
		"all connections are forgotten", "Ylem loses its sessions", "all tokens expire",
	}[i.Kind]
}

func (i incident) text() string {
	if i.Kind == nothing {
		return ""
	}
	at := []string{"before", "during", "after"}[i.Point]
	text := fmt.Sprintf("; %s %s call %d of the provider", i, at, i.Call)
	if i.Call == 0 {
		text = fmt.Sprintf("; %s %s the creation or update", i, at)
	}
	if i.Point == duringCall {
		text += fmt.Sprintf(", %s later", i.After)
	}
	return text
}

func (s step) String() string {
	address := addresses[s.Resource]
	switch s.Do {
	case doApply:
		return "terraform apply" + []string{"", " -refresh=false"}[s.A] + s.Incident.text()
	case doPlan:
		return "terraform plan" + s.Incident.text()
	case doApplySaved:
		return fmt.Sprintf("terraform plan -out, %s pass, terraform apply%s", pauses[s.Pass], s.Incident.text())
	case doRefresh:
		return "terraform apply -refresh-only" + s.Incident.text()
	case doDestroy:
		return "terraform destroy" + s.Incident.text()
	case doConfigure:
		return fmt.Sprintf("configure %s: %s", address, nonzero(s.Config))
	case doRemove:
		return fmt.Sprintf("remove %s from the configuration", address)
	case doPass:
		return fmt.Sprintf("%s pass", pauses[s.Pass])
	case doFaultRun:
		f := runFaults[s.A]
		after := ""
		if f.both {
			after = []string{", without having started a run", ", having started a run"}[s.B&1]
		}
		return fmt.Sprintf("Ylem %s to the next %d run requests%s", f.name, 1+s.B>>1, after)
	case doFaultRead:
		return fmt.Sprintf("Ylem %s to the next %d requests for a log", readFaults[s.A].name, 1+s.B*3)
	case doFaultToken:
		return fmt.Sprintf("Ylem %s to the next %d requests for a token", tokenFaults[s.A].name, 1+s.B*3)
	case doRefuse:
		return "Ylem refuses connections"
	case doService:
		return []string{"Ylem's log goes down", "Ylem's log comes up again", "Ylem's scheduler exits", "Ylem's scheduler starts", "Ylem loses its sessions", "all tokens expire"}[s.A]
	case doRepair:
		return "all of Ylem is well again"
	case doLoseRows:
		return []string{"Ylem loses the oldest row", "Ylem loses the newest row", "Ylem loses all rows"}[s.A]
	case doMerge:
		return "Ylem merges rows that came twice"
	case doChangePipeline:
		return fmt.Sprintf("pipeline %d becomes %s", s.B+1, nonzero(s.Shape))
	case doPause:
		return fmt.Sprintf("pipeline %d is paused, or no longer", s.B+1)
	case doOtherRun:
		return fmt.Sprintf("somebody else runs pipeline %d", s.B+1)
	case doStateRm:
		return "terraform state rm " + address
	case doImport:
		return fmt.Sprintf("terraform state rm and import of %s, run %d of its pipeline", address, s.A+1)
	case doTaint:
		return "terraform taint " + address
	case doUntaint:
		return "terraform untaint " + address
	case doReplace:
		return "terraform apply -replace=" + address + s.Incident.text()
	case doLoseState:
		return "the state is lost that the last command wrote"
	}
	return fmt.Sprintf("step %d", s.Do)
}

// nonzero lists the fields of a struct that are set.
func nonzero(v any) string {
	var set []string
	value := reflect.ValueOf(v)
	for i := range value.NumField() {
		if f := value.Field(i); !f.IsZero() {
			shown := fmt.Sprint(f.Interface())
			switch name := value.Type().Field(i).Name; name {
			case "Pipelines":
				for j, p := range f.Interface().([2]pipeline) {
					set = append(set, fmt.Sprintf("pipeline %d is { %s }", j+1, nonzero(p)))
				}
				continue
			case "Latency":
				shown = latencies[f.Int()].String()
			case "Completion":
				shown = completions[f.Int()]
			case "Timeout":
				shown = timeouts[f.Int()]
			case "Unknown":
				shown = unknowns[f.Int()]
			case "Slow", "Late", "Vanishes":
				shown = durations[f.Int()].String()
			}
			set = append(set, value.Type().Field(i).Name+" "+shown)
		}
	}
	if set == nil {
		return "as simple as can be"
	}
	return strings.Join(set, ", ")
}

func (h history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Ylem: %s\n", nonzero(h.Ylem))
	for i, s := range h.Steps {
		fmt.Fprintf(&b, "%2d. %s\n", i+1, s)
	}
	return b.String()
}

// newHistory returns the history of a seed.
func newHistory(seed uint64) history {
	g := generator{Rand: rand.New(rand.NewPCG(seed, 12)), last: new([2]config)}
	h := history{Ylem: ylem{
		Reference: g.one(4), TaskRunner: g.one(3), Deadlocks: g.one(4), ShortTokens: g.one(5), Hurry: !g.one(3), Remote: g.one(3),
		Latency: g.skewed(len(latencies)), Retries: g.IntN(3), Pipelines: [2]pipeline{g.pipeline(), g.pipeline()},
	}}
	for resource := range addresses {
		if g.last[resource] = g.config(); resource == 0 || g.one(5) {
			h.Steps = append(h.Steps, step{Do: doConfigure, Resource: resource, Config: g.last[resource]})
		}
	}
	if g.one(2) { // the first apply certainly starts a run
		if g.one(3) {
			h.Steps = append(h.Steps, g.faultRun())
		}
		h.Steps = append(h.Steps, step{Do: doApply, Incident: g.incident()})
	}
	steps := g.IntN(4)
	if g.one(8) {
		steps += 6
	}
	for range steps {
		next := g.step()
		if next.Do == doFaultRun && g.one(2) { // what Ylem does to run requests counts if there is one
			h.Steps = append(h.Steps, next)
			next = step{Do: doApply, Incident: g.incident()}
		}
		h.Steps = append(h.Steps, next)
	}
	// Whatever has happened, it comes out in the end.
	h.Steps = append(h.Steps, step{Do: doRepair}, step{Do: doPass, Pass: g.IntN(len(pauses))}, step{Do: doApply})
	return h
}

type generator struct {
	*rand.Rand
	last *[2]config // that were generated, by resource
}

// one is true once in n times.
func (g generator) one(n int) bool { return g.IntN(n) == 0 }

// skewed is a number below n, most often 0.
func (g generator) skewed(n int) int {
	if g.one(2) {
		return 0
	}
	return g.IntN(n)
}

func (g generator) pipeline() pipeline {
	p := pipeline{
		Tasks: g.IntN(3), Slow: g.IntN(len(durations)), Trigger: g.one(2), ForEach: g.one(8), Copies: g.one(8), Unended: g.one(12),
		NoResult: g.one(12), Behind: g.one(6),
	}
	if g.one(3) {
		p.Fails = 1 + g.IntN(p.Tasks+1)
	}
	if g.one(4) {
		p.Late = g.IntN(len(durations))
	}
	if g.one(6) {
		p.Vanishes = 2 + g.IntN(len(durations)-2)
	}
	return p
}

func (g generator) config() config {
	c := config{
		Pipeline: g.IntN(2), Upper: g.one(8), Input: g.skewed(3), Secret: g.one(4), Triggers: g.skewed(4), Wait: !g.one(3),
		Completion: g.IntN(len(completions)), Warn: g.one(4), WarnLate: g.one(3), Timeout: g.IntN(len(timeouts)),
	}
	if g.one(3) {
		c.Key = 1 + g.IntN(2)
	}
	if g.one(3) {
		c.Unknown = g.IntN(len(unknowns))
	}
	return c
}

// change is a configuration in which most is as it was.
func (g generator) change(resource int) config {
	c := &g.last[resource]
	fresh := g.config()
	switch n := g.IntN(13); n {
	case 0:
		*c = fresh
	case 1:
		c.Input, c.Secret = fresh.Input, fresh.Secret
	case 2:
		c.Triggers = g.IntN(4)
	case 3, 4:
		c.Completion = fresh.Completion
	case 5, 6:
		c.Wait = !c.Wait
	case 7:
		c.Warn = !c.Warn
	case 8:
		c.WarnLate, c.Timeout = fresh.WarnLate, fresh.Timeout
	case 9:
		c.Upper = !c.Upper
	case 10:
		c.Key = g.IntN(3)
	default:
		c.Unknown = g.IntN(len(unknowns))
	}
	return *c
}

func (g generator) incident() incident {
	if g.one(2) {
		return incident{}
	}
	i := incident{1 + incidentKind(g.IntN(int(incidentKinds)-1)), duringCall, 0, offsets[g.IntN(len(offsets))]}
	if g.one(4) {
		i.Kind = interrupt
	}
	if g.one(3) {
		i.Point = point(g.IntN(3))
	}
	if g.one(3) {
		i.Call = 1 + g.IntN(14)
	}
	return i
}

func (g generator) faultRun() step {
	s := step{Do: doFaultRun, A: g.IntN(len(runFaults)), B: g.IntN(6)}
	if g.one(4) {
		s.A = slices.IndexFunc(runFaults, func(f runFault) bool { return f.fault.Stall == slow }) // time for incidents
	}
	return s
}

func (g generator) step() step {
	s := step{Resource: g.skewed(2), B: g.IntN(2), Pass: g.IntN(len(pauses))}
	switch n := g.IntN(100); {
	case n < 28:
		s.Do, s.A, s.Incident = doApply, 0, g.incident()
		if g.one(5) {
			s.A = 1
		}
	case n < 31:
		s.Do, s.Incident = doPlan, g.incident()
	case n < 34:
		s.Do, s.Incident = doApplySaved, g.incident()
	case n < 36:
		s.Do, s.Incident = doRefresh, g.incident()
	case n < 38:
		s.Do = doDestroy
	case n < 52:
		s.Do, s.Config = doConfigure, g.change(s.Resource)
	case n < 53:
		s.Do = doRemove
	case n < 64:
		s.Do = doPass
	case n < 74:
		return g.faultRun()
	case n < 78:
		s.Do, s.A = doFaultRead, g.IntN(len(readFaults))
	case n < 79:
		s.Do, s.A = doFaultToken, g.IntN(len(tokenFaults))
	case n < 80:
		s.Do = doRefuse
	case n < 83:
		s.Do, s.A = doService, g.IntN(6)
	case n < 86:
		s.Do = doRepair
	case n < 88:
		s.Do, s.A = doLoseRows, g.IntN(3)
	case n < 89:
		s.Do = doMerge
	case n < 91:
		s.Do, s.Shape = doChangePipeline, g.pipeline()
	case n < 92:
		s.Do = doPause
	case n < 94:
		s.Do = doOtherRun
	case n < 95:
		s.Do = doStateRm
	case n < 97:
		s.Do, s.A = doImport, g.IntN(2)
	case n < 98:
		s.Do = []kind{doTaint, doUntaint, doUntaint}[g.IntN(3)]
	case n < 99:
		s.Do, s.Incident = doReplace, g.incident()
	default:
		s.Do = doLoseState
	}
	return s
}

// shrink returns a history that is as short and simple as can be found and still fails in the same way.
func shrink(h history, fails func(history) bool, enough func() bool) history {
	try := func(candidate history) bool {
		if enough() || !fails(candidate) {
			return false
		}
		h = candidate
		return true
	}
	for changed := true; changed && !enough(); {
		changed = false
		for size := len(h.Steps) / 2; size > 0; size /= 2 {
			for at := len(h.Steps) - size; at >= 0; {
				steps := append(append([]step(nil), h.Steps[:at]...), h.Steps[at+size:]...)
				if try(history{h.Ylem, steps}) {
					changed = true
				}
				at = min(at-1, len(h.Steps)-size)
			}
		}
		for i := 0; ; i++ {
			candidates, ok := simpler(h, i)
			if !ok {
				break
			}
			for _, candidate := range candidates {
				if try(candidate) {
					changed = true
					break
				}
			}
		}
	}
	return h
}

// simpler returns the history with its i-th number or truth value made smaller; false if it has none.
func simpler(h history, i int) (candidates []history, ok bool) {
	count := 0
	var walk func(v reflect.Value, set func(reflect.Value))
	var found reflect.Value
	walk = func(v reflect.Value, set func(reflect.Value)) {
		switch v.Kind() {
		case reflect.Struct:
			for j := range v.NumField() {
				walk(v.Field(j), set)
			}
		case reflect.Slice, reflect.Array:
			for j := range v.Len() {
				walk(v.Index(j), set)
			}
		default:
			if count == i {
				set(v)
			}
			count++
		}
	}
	walk(reflect.ValueOf(&h).Elem(), func(v reflect.Value) { found = v })
	if !found.IsValid() {
		return nil, false
	}
	var values []int64
	switch found.Kind() {
	case reflect.Bool:
		if found.Bool() {
			values = []int64{0}
		}
	default:
		if n := found.Int(); n > 0 && found.Type() != reflect.TypeFor[kind]() {
			values = []int64{0}
			switch {
			case found.Type() == reflect.TypeFor[time.Duration]():
				if earlier := slices.Index(offsets, time.Duration(n)); earlier > 0 {
					values = append(values, int64(offsets[earlier-1]))
				}
			case n > 1:
				values = append(values, n/2, n-1)
			}
		}
	}
	for _, value := range values {
		candidate := history{h.Ylem, append([]step(nil), h.Steps...)}
		count = 0
		walk(reflect.ValueOf(&candidate).Elem(), func(v reflect.Value) {
			if v.Kind() == reflect.Bool {
				v.SetBool(false)
			} else {
				v.SetInt(value)
			}
		})
		candidates = append(candidates, candidate)
	}
	return candidates, true
}
