package modeltest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// violation is an invariant that does not hold.
type violation struct {
	invariant int
	what      string
}

// world is where a history happens.
type world struct {
	schema  *schema
	network *network
	server  *ylemtest.Server
	client  ylemtest.Client
	ylem    ylem
	tasks   [2][]string // UUIDs, by pipeline
	shapes  [2]pipeline

	configs map[string]config

	troubled bool // something may be wrong with Ylem
	ever     map[rowKey]row
	parsed   time.Time // answers up to here are in ever
	known    map[string]string
	intents  map[string][]string // runs that were started with a key, by intent
	counts   map[string]int

	mu       sync.Mutex
	valids   map[config]bool // configurations that the provider accepts
	state    state
	previous state
	bad      *violation
	trace    []string
	began    time.Time
	names    map[string]string
}

// pipelineUUIDs are fixed, so that histories can be compared.
var pipelineUUIDs = [2]string{"10000000-0000-4000-8000-00000000000a", "20000000-0000-4000-8000-00000000000b"}

const foreignTask = "ffffffff-0000-4000-8000-00000000000f"

// play lets a history happen, and returns what it violates.
func play(t *testing.T, s *schema, h history) (bad *violation, trace []string, counts map[string]int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(s, h.Ylem)
		defer func() {
			w.counts["requests to Ylem"] += len(w.server.Requests())
			w.server.Close()
			time.Sleep(time.Hour) // what is left of killed processes ends
			bad, trace, counts = w.bad, w.trace, w.counts
		}()
		for i, step := range h.Steps {
			w.say("%2d. %s", i+1, step)
			w.do(t.Context(), step)
			if w.violated() {
				return
			}
		}
	})
	return bad, trace, counts
}

func newWorld(s *schema, y ylem) *world {
	w := &world{
		schema: s, network: newNetwork(), ylem: y, configs: map[string]config{}, ever: map[rowKey]row{}, known: map[string]string{},
		counts: map[string]int{}, state: state{}, previous: state{}, names: map[string]string{}, valids: map[config]bool{}, intents: map[string][]string{}, began: time.Now(),
	}
	options := []ylemtest.Option{ylemtest.WithListener(w.network), ylemtest.WithAnswers()}
	if y.Reference {
		options = append(options, ylemtest.WithDialect(ylemtest.Reference))
	}
	if y.TaskRunner {
		options = append(options, ylemtest.WithTaskRunner())
	}
	if y.Deadlocks {
		options = append(options, ylemtest.WithDeadlocks(0))
	}
	if y.ShortTokens {
		options = append(options, ylemtest.WithTokenLifetime(3*time.Minute))
	}
	w.server = ylemtest.NewServer(options...)
	w.server.SetLatency(latencies[y.Latency])
	w.client = w.server.AddClient(ylemtest.Client{})
	for i := range w.shapes {
		w.setPipeline(i, y.Pipelines[i])
	}
	return w
}

// setPipeline gives a pipeline another shape. Its tasks keep their UUIDs.
func (w *world) setPipeline(n int, shape pipeline) {
	w.shapes[n] = shape
	w.tasks[n] = nil
	var tasks []ylemtest.Task
	for i := range shape.Tasks + 1 {
		task := ylemtest.Task{UUID: fmt.Sprintf("3%d000000-0000-4000-8000-0000000000%02d", n, i), Duration: durations[i%2], Output: []byte(`[]`)}
		if i > 0 {
			task.After = []string{w.tasks[n][i-1]}
		}
		if i == shape.Tasks {
			task.Duration = durations[shape.Slow]
			task.ReportDelay = durations[shape.Late]
			if shape.Late == 0 {
				task.ReportDelay = 0
			}
			task.Unended = shape.Unended
			if shape.Copies {
				task.Copies, task.MergeAfter = 3, time.Minute
			}
			if shape.NoResult {
				task.JSON = map[string]string{"is_successful": "null"}
			}
		}
		if i == 0 && shape.Trigger {
			task.Type = "external_trigger"
		}
		if i == 0 && shape.ForEach {
			task.Type, task.Items = "for_each", 2
		}
		if shape.Fails == i+1 {
			task.Errors = []ylemtest.TaskError{{Message: "no such table"}}
		}
		if shape.Behind {
			task.ClockBehind = 2 * time.Minute
		}
		if shape.Vanishes > 0 {
			task.VanishAfter = durations[shape.Vanishes]
		}
		tasks = append(tasks, task)
		w.tasks[n] = append(w.tasks[n], task.UUID)
	}
	w.server.AddPipeline(ylemtest.Pipeline{UUID: pipelineUUIDs[n], Tasks: tasks})
}

func (w *world) say(format string, arguments ...any) {
	line := fmt.Sprintf("%12s  ", time.Since(w.began).Round(time.Millisecond)) + fmt.Sprintf(format, arguments...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, line)
}

// name is a short name of a run.
func (w *world) name(uuid string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if uuid == "" {
		return "no run"
	}
	if w.names[uuid] == "" {
		w.names[uuid] = fmt.Sprintf("run %d", len(w.names)+1)
	}
	return w.names[uuid]
}

// violate notes the first violation.
func (w *world) violate(invariant int, format string, arguments ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bad == nil {
		w.bad = &violation{invariant, fmt.Sprintf(format, arguments...)}
	}
}

func (w *world) violated() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bad != nil
}

func (w *world) isValid(c config) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.valids[c]
}

func (w *world) valid(c config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.valids[c] = true
}

func (w *world) store(address string, i *instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i == nil {
		delete(w.state, address)
	} else {
		w.state[address] = i
	}
}

func (w *world) setState(s state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = s
}

func (w *world) pipelineOf(c config) string { return pipelineUUIDs[c.Pipeline] }

func (w *world) bodyOf(address string, c config) string {
	if c.Input == 0 {
		return ""
	}
	return fmt.Sprintf(`{"resource":%q,"version":%d}`, address, c.Input)
}

// keyOf is the idempotency_key of a resource: each has its own.
func keyOf(address string, c config) string {
	if c.Key == 0 {
		return ""
	}
	return fmt.Sprintf("%s-%d", address, c.Key)
}

// intent is what names a run that is to be started at most once: all whose change starts a new one.
func (w *world) intent(address string, c config) string {
	return fmt.Sprintf("%s %s %d %t %s", pipelineUUIDs[c.Pipeline], keyOf(address, c), max(c.Triggers, 1), c.Secret && c.Input > 0, w.bodyOf(address, c))
}

func (w *world) providerConfig() tftypes.Value {
	typ := w.schema.provider.(tftypes.Object)
	values := map[string]tftypes.Value{}
	for name, t := range typ.AttributeTypes {
		values[name] = tftypes.NewValue(t, nil)
	}
	values["api_url"], values["client_id"], values["client_secret"] = str(w.server.URL), str(w.client.ID), str(w.client.Secret)
	values["request_timeout"] = str("17s")
	values["max_retries"] = tftypes.NewValue(tftypes.Number, w.ylem.Retries)
	return tftypes.NewValue(typ, values)
}

// configValue is a configuration as Terraform evaluates it. While planning, something may be unknown.
func (w *world) configValue(address string, c config, planning bool) object {
	o := object{}
	for name, t := range w.schema.typ.AttributeTypes {
		o[name] = tftypes.NewValue(t, nil)
	}
	types := w.schema.typ.AttributeTypes
	uuid := pipelineUUIDs[c.Pipeline]
	if c.Upper {
		uuid = strings.ToUpper(uuid)
	}
	o["pipeline_uuid"] = str(uuid)
	if body := w.bodyOf(address, c); body != "" && c.Secret {
		o["input_wo"], o["input_wo_version"] = str(body), tftypes.NewValue(tftypes.Number, c.Input)
	} else if body != "" {
		o["input"] = str(body)
	}
	if key := keyOf(address, c); key != "" {
		o["idempotency_key"] = str(key)
	}
	switch c.Triggers {
	case 0:
	case 1:
		o["triggers"] = tftypes.NewValue(types["triggers"], map[string]tftypes.Value{})
	default:
		o["triggers"] = tftypes.NewValue(types["triggers"], map[string]tftypes.Value{"on": str(fmt.Sprint(c.Triggers))})
	}
	if c.Wait {
		o["wait_for_completion"] = tftypes.NewValue(tftypes.Bool, true)
	}
	if c.Warn {
		o["on_failure"] = str("warn")
	}
	if c.WarnLate {
		o["on_timeout"] = str("warn")
	}
	tasks := w.tasks[c.Pipeline]
	var final []string
	quiet := ""
	switch c.Completion {
	case 1:
		quiet = "30s"
	case 2:
		quiet = "3m"
	case 3:
		final = tasks[len(tasks)-1:]
	case 4:
		final = tasks[:1]
	case 5:
		final = tasks
	case 6:
		final = []string{foreignTask}
	}
	timeout := timeouts[c.Timeout]
	if completion := types["completion"].(tftypes.Object); c.Completion != 0 {
		set := tftypes.Set{ElementType: tftypes.String}
		values := map[string]tftypes.Value{
			"final_task_uuids": tftypes.NewValue(set, nil), "quiet_period": tftypes.NewValue(tftypes.String, nil), "poll_interval": str("2m"),
		}
		if quiet != "" {
			values["quiet_period"] = str(quiet)
		}
		if final != nil {
			var list []tftypes.Value
			for i, task := range final {
				if planning && unknowns[c.Unknown] == "final_task_uuids" && i == 0 {
					list = append(list, unknown(tftypes.String))
				} else {
					list = append(list, str(task))
				}
			}
			values["final_task_uuids"] = tftypes.NewValue(set, list)
		}
		o["completion"] = tftypes.NewValue(completion, values)
	} else if timeout == "" {
		timeout = "1m" // polls every five seconds
	}
	if block := types["timeouts"].(tftypes.Object); timeout != "" {
		o["timeouts"] = tftypes.NewValue(block, map[string]tftypes.Value{"create": str(timeout), "update": str(timeout)})
	}
	if name := unknowns[c.Unknown]; planning && c.Unknown > 0 && name != "final_task_uuids" && !(name == "input" && c.Secret) {
		o[name] = unknown(types[name])
	}
	return o
}

// newCommand begins a run of the terraform command.
func (w *world) newCommand(ctx context.Context, i incident) *command {
	time.Sleep(time.Millisecond) // so that no request of the command before is taken for one of this
	w.mu.Lock()
	w.previous = maps.Clone(w.state)
	w.mu.Unlock()
	return &command{w: w, ctx: ctx, refresh: true, incident: i, began: time.Now(), killed: make(chan struct{})}
}

func (w *world) do(ctx context.Context, s step) {
	address := addresses[s.Resource]
	switch s.Do {
	case doApply:
		w.apply(ctx, s, func(c *command) { c.refresh = s.A == 0 })
	case doReplace:
		w.apply(ctx, s, func(c *command) { c.replace = address })
	case doApplySaved:
		w.apply(ctx, s, func(c *command) { c.pause = pauses[s.Pass] })
	case doPlan:
		c := w.newCommand(ctx, s.Incident)
		_, err := c.planAll(w.configs, false)
		w.settle(c, err, nil)
	case doRefresh:
		c := w.newCommand(ctx, s.Incident)
		// A plan without a configuration would destroy: only what its refresh found counts.
		p, err := c.planAll(w.configs, false)
		if err == nil && !c.isStopping() {
			w.setState(maps.Clone(p.prior))
		}
		w.settle(c, err, nil)
	case doDestroy:
		c := w.newCommand(ctx, s.Incident)
		p, err := c.planAll(w.configs, true)
		if err == nil {
			err = c.applyAll(p)
		}
		w.settle(c, err, p)
	case doConfigure:
		c := s.Config
		if c.Input == 0 && c.Key == 0 && s.Resource != c.Pipeline {
			c.Input = 1 // those that share a pipeline can be told apart by the input
		}
		w.configs[address] = c
	case doRemove:
		delete(w.configs, address)
	case doPass:
		time.Sleep(pauses[s.Pass])
	case doFaultRun:
		f := runFaults[s.A]
		fault := f.fault
		fault.Route, fault.Times = ylemtest.RouteRun, 1+s.B>>1
		fault.After = fault.After || f.both && s.B&1 == 1
		w.server.Inject(fault)
		w.troubled = true
	case doFaultRead:
		fault := readFaults[s.A].fault
		fault.Route, fault.Times = ylemtest.RouteLogs, 1+s.B*3
		w.server.Inject(fault)
		w.troubled = true
	case doFaultToken:
		fault := tokenFaults[s.A].fault
		fault.Route, fault.Times = ylemtest.RouteToken, 1+s.B*3
		w.server.Inject(fault)
		w.troubled = true
	case doRefuse:
		w.network.refuse(true)
		w.troubled = true
	case doService:
		w.troubled = w.troubled || s.A == 0
		[]func(){w.server.StopClickHouse, w.server.StartClickHouse, w.server.StopScheduler, w.server.StartScheduler, w.server.LoseSessions, w.server.ExpireTokens}[s.A]()
	case doRepair:
		w.server.ClearFaults()
		w.server.StartClickHouse()
		w.server.StartScheduler()
		w.network.refuse(false)
		for i := range pipelineUUIDs {
			w.server.UpdatePipeline(pipelineUUIDs[i], func(p *ylemtest.Pipeline) { p.Paused = false })
		}
		w.troubled = false
	case doLoseRows:
		w.loseRows(s.A)
	case doMerge:
		w.server.MergeRows()
	case doChangePipeline:
		w.setPipeline(s.B, s.Shape)
	case doPause:
		w.server.UpdatePipeline(pipelineUUIDs[s.B], func(p *ylemtest.Pipeline) { p.Paused = !p.Paused })
	case doOtherRun:
		w.server.AddRun(pipelineUUIDs[s.B], time.Now())
	case doStateRm:
		w.store(address, nil)
	case doImport:
		c, ok := w.configs[address]
		if !ok {
			return
		}
		runs := w.server.Runs(pipelineUUIDs[c.Pipeline])
		if len(runs) == 0 {
			return
		}
		w.store(address, nil)
		run := runs[s.A%len(runs)]
		w.say("    %s", w.name(run.UUID))
		cmd := w.newCommand(ctx, s.Incident)
		err := cmd.importRun(address, run.PipelineUUID+"/"+run.UUID)
		w.counts["imports"]++
		w.settle(cmd, err, nil)
	case doTaint, doUntaint:
		w.mu.Lock()
		if i := w.state[address]; i != nil {
			changed := *i
			changed.tainted = s.Do == doTaint
			w.state[address] = &changed
		}
		w.mu.Unlock()
	case doLoseState:
		w.setState(maps.Clone(w.previous))
	}
}

func (w *world) loseRows(which int) {
	var newest, oldest time.Time
	w.server.RemoveRows(func(r ylemtest.Row) bool {
		if newest.IsZero() || r.ExecutedAt.After(newest) {
			newest = r.ExecutedAt
		}
		if oldest.IsZero() || r.ExecutedAt.Before(oldest) {
			oldest = r.ExecutedAt
		}
		return false
	})
	w.server.RemoveRows(func(r ylemtest.Row) bool {
		return which == 2 || which == 0 && r.ExecutedAt.Equal(oldest) || which == 1 && r.ExecutedAt.Equal(newest)
	})
}

// apply is terraform apply. Where nothing was in its way, a second plan follows.
func (w *world) apply(ctx context.Context, s step, change func(*command)) {
	c := w.newCommand(ctx, s.Incident)
	change(c)
	p, err := c.planAll(w.configs, false)
	if err == nil && c.pause > 0 && !c.isStopping() {
		time.Sleep(c.pause)
	}
	if err == nil {
		err = c.applyAll(p)
	}
	w.settle(c, err, p)
	w.counts["applies"]++
	if err == nil { // what the configuration depends on has been applied as well
		for address, c := range w.configs {
			c.Unknown = 0
			w.configs[address] = c
		}
	}
	if err != nil || c.happened || w.ylem.Hurry || w.violated() {
		return
	}
	applied := maps.Clone(w.state)
	again := w.newCommand(ctx, incident{})
	w.say("    the second plan:")
	second, err := again.planAll(w.configs, false)
	w.settle(again, err, nil)
	if err != nil {
		w.violate(6, "the second plan fails")
		return
	}
	for address, ch := range second.changes {
		if ch.action != noOp {
			w.checkSecondPlan(address, c, ch, applied[address])
		}
	}
	w.counts["second plans"]++
}

// settle looks, once a command has ended, at what it did.
func (w *world) settle(c *command, err error, p *planned) {
	c.end()
	synctest.Wait()
	if c.isKilled() && w.ylem.Remote {
		w.setState(maps.Clone(w.previous)) // what it wrote was not uploaded yet
	}
	if err != nil {
		w.say("    ends: %v", err)
	}
	if c.happened {
		w.counts[c.incident.String()]++
	}
	requests := w.server.Requests()
	w.counts["provider calls"] += c.calls
	w.learn(requests)
	w.checkKeys(c, requests)
	w.checkCreations(c, requests)
	w.checkLooks(c, requests)
	w.checkNothingLost(c, p)
	for _, address := range slices.Sorted(maps.Keys(w.state)) {
		o := w.state[address].object
		w.say("    state: %s is %s, %s", address, w.name(text(o["id"])), text(o["status"]))
	}
}
