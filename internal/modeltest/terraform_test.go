package modeltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-log/tflogtest"

	"github.com/ylem-co/terraform-provider-ylem/internal/provider"
)

// What Terraform's core does with a provider, as far as it matters to one: what it sends, what it accepts, what it stores
// and when. The names are core's own.

// instance is what the state holds of a resource.
type instance struct {
	object   object
	private  []byte
	identity *tfprotov6.ResourceIdentityData
	tainted  bool
	upgraded bool // it has been read from the state

	imported bool // the model's own note: no update has adopted the configuration yet
	notes    notes
}

// state is by address.
type state map[string]*instance

// plugin is one process of the provider. It ends with a walk over the resources, or is killed.
type plugin struct {
	server tfprotov6.ProviderServer
	dead   chan struct{}

	mu    sync.Mutex
	wires []*wire
	log   strings.Builder
}

func (p *plugin) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// add is false if the process has been killed meanwhile.
func (p *plugin) add(w *wire) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wires = append(p.wires, w)
	return !p.isDead()
}

// kill ends the process: nothing of it reaches anybody any more.
func (p *plugin) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isDead() {
		return
	}
	close(p.dead)
	for _, w := range p.wires {
		w.cut()
	}
}

// Write takes a line of the provider's log.
func (p *plugin) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isDead() {
		p.log.Write(b)
	}
	return len(b), nil
}

func (p *plugin) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

var _ io.Writer = (*plugin)(nil)

// diagnostic is an error or a warning of a command.
type diagnostic struct {
	address string
	isError bool
	text    string
}

// command is one run of the terraform command.
type command struct {
	w        *world
	ctx      context.Context
	refresh  bool
	replace  string // address, as of -replace
	incident incident
	began    time.Time
	pause    time.Duration // between plan and apply

	mu       sync.Mutex
	calls    int
	plugin   *plugin
	plugins  []*plugin
	stopping bool
	stopped  time.Time
	killed   chan struct{}
	happened bool // the incident
	diags    []diagnostic
	creates  []*creation
	looks    []*look
}

// creation is one call of the provider that is to start a run.
type creation struct {
	address  string
	pipeline string
	body     string // without the key
	key      string // ""; or the beginning of the member that the provider adds
	intent   string
	earlier  []string // runs with the same key and intent that can be found before the creation begins
	failed   []string // those of them that have failed by then
	from     time.Time
	plugin   *plugin
	err      error
	state    object
	diags    []diagnostic
	until    time.Time
	stopped  bool
}

// look is a call of the provider that has had the opportunity to look at a run.
type look struct {
	address      string
	before       object
	after        object
	base, result *instance
	from, to     time.Time
	reading      bool  // a refresh
	cutShort     bool  // interrupted, or out of time
	exclusive    bool  // no other call was reading the same log
	clean        bool  // nothing was wrong with Ylem
	visible      []row // by then, if it is clean
	answered     bool
	latest       []rowKey // in the last answer
}

var (
	errDied   = errors.New("plugin did not respond")
	errKilled = errors.New("terraform was killed")
	errFailed = errors.New("there were errors")
)

func (c *command) start() error {
	p := &plugin{dead: make(chan struct{})}
	p.server = provider.NewServerWith("model", func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.w.network.dial(ctx, p)
	})
	c.mu.Lock()
	c.plugin = p
	c.plugins = append(c.plugins, p)
	c.mu.Unlock()
	resp, err := call(c, "configure", "", p.server.ConfigureProvider, &tfprotov6.ConfigureProviderRequest{
		TerraformVersion: "1.12.0", Config: dynamic(c.w.schema.provider, c.w.providerConfig()),
	})
	if err != nil {
		return err
	}
	return c.add("", resp.Diagnostics)
}

func (c *command) end() {
	c.mu.Lock()
	plugins := slices.Clone(c.plugins)
	c.mu.Unlock()
	for _, p := range plugins {
		p.kill()
	}
}

// add notes diagnostics, and fails if there is an error among them.
func (c *command) add(address string, diags []*tfprotov6.Diagnostic) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	failed := false
	for _, d := range diags {
		isError := d.Severity == tfprotov6.DiagnosticSeverityError
		failed = failed || isError
		c.diags = append(c.diags, diagnostic{address, isError, d.Summary + ": " + d.Detail})
		c.w.say("    %s: %s: %s", address, d.Severity, d.Summary)
	}
	if failed {
		return errFailed
	}
	return nil
}

func (c *command) fail(address, format string, arguments ...any) error {
	return c.add(address, []*tfprotov6.Diagnostic{{Severity: tfprotov6.DiagnosticSeverityError, Summary: fmt.Sprintf(format, arguments...)}})
}

func (c *command) hasHappened() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.happened
}

// disconnected reports whether answers may have been lost on their way.
func (c *command) disconnected() bool {
	return c.hasHappened() && (c.incident.Kind == cutConnections || c.incident.Kind == forgetConnections)
}

// said reports whether there is a diagnostic with that text about a resource.
func (c *command) said(address, part string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.diags, func(d diagnostic) bool { return d.address == address && strings.Contains(d.text, part) })
}

func (c *command) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

func (c *command) isKilled() bool {
	select {
	case <-c.killed:
		return true
	default:
		return false
	}
}

// call calls the provider. Before or during any call, or between its result and the next step, the incident can happen.
func call[Request, Response any](c *command, name, address string, f func(context.Context, Request) (Response, error), req Request) (Response, error) {
	var none Response
	c.mu.Lock()
	c.calls++
	n, p := c.calls, c.plugin
	c.mu.Unlock()
	strikes := n == c.incident.Call || c.incident.Call == 0 && (name == "apply create of" || name == "apply update of")
	strikes = strikes && c.incident.Kind != nothing && !c.hasHappened()
	if strikes && c.incident.Point == beforeCall {
		c.strike(name, address)
	}
	switch {
	case c.isKilled():
		return none, errKilled
	case p.isDead():
		return none, errDied
	}
	ctx, cancel := context.WithCancel(tflogtest.RootLogger(c.ctx, p))
	type result struct {
		resp Response
		err  error
	}
	done := make(chan result, 1)
	if strikes && c.incident.Point == duringCall {
		timer := time.AfterFunc(c.incident.After, func() { c.strike(name, address) })
		defer timer.Stop()
	}
	go func() {
		defer cancel()
		resp, err := f(ctx, req)
		done <- result{resp, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-p.dead:
	case <-c.killed:
	}
	if strikes && c.incident.Point == afterCall {
		c.strike(name, address)
	}
	switch {
	case c.isKilled():
		cancel() // the connection to the provider is gone
		return none, errKilled
	case p.isDead():
		cancel() // only the model lets it go on
		return none, errDied
	}
	return r.resp, r.err
}

// strike lets the incident happen.
func (c *command) strike(name, address string) {
	c.mu.Lock()
	if c.happened {
		c.mu.Unlock()
		return
	}
	c.happened = true
	p := c.plugin
	c.mu.Unlock()
	c.w.say("    %s %s %s %s", c.incident, map[point]string{beforeCall: "before", duringCall: "during", afterCall: "after"}[c.incident.Point], name, address)
	switch c.incident.Kind {
	case interrupt:
		c.interrupt(p)
	case interruptThenKill:
		c.interrupt(p)
		time.AfterFunc(7500*time.Millisecond, func() {
			if c.ctx.Err() == nil {
				c.kill()
			}
		})
	case killProvider:
		p.kill()
	case killTerraform:
		close(c.killed)
	case killBoth:
		c.kill()
	case cutConnections:
		c.w.network.cut()
	case forgetConnections:
		c.w.network.forget()
	case loseSessions:
		c.w.server.LoseSessions()
	case expireTokens:
		c.w.server.ExpireTokens()
	}
}

func (c *command) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isKilled() {
		close(c.killed)
	}
	for _, p := range c.plugins {
		p.kill()
	}
}

func (c *command) interrupt(p *plugin) {
	c.mu.Lock()
	c.stopping, c.stopped = true, time.Now()
	c.mu.Unlock()
	go func() { _, _ = p.server.StopProvider(c.ctx, &tfprotov6.StopProviderRequest{}) }()
}

func (c *command) server() tfprotov6.ProviderServer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plugin.server
}

// upgrade reads an instance from the state. It does so once for each: the answer depends on nothing else.
func (c *command) upgrade(address string, i *instance) (object, error) {
	if i.upgraded {
		return i.object, nil
	}
	resp, err := call(c, "upgrade", address, c.server().UpgradeResourceState, &tfprotov6.UpgradeResourceStateRequest{
		TypeName: resourceType, RawState: &tfprotov6.RawState{JSON: c.w.schema.stored(i.object)},
	})
	if err != nil {
		return nil, err
	}
	if err := c.add(address, resp.Diagnostics); err != nil {
		return nil, err
	}
	if o := c.w.schema.decode(resp.UpgradedState); !c.w.schema.value(o).Equal(c.w.schema.value(i.object)) {
		c.w.violate(6, "%s is read from the state as something else than was stored", address)
		return nil, errFailed
	}
	i.upgraded = true
	return i.object, nil
}

// read refreshes an instance.
func (c *command) read(address string, i *instance, before object) (*instance, object, error) {
	l := c.w.looking(address, before)
	resp, err := call(c, "read", address, c.server().ReadResource, &tfprotov6.ReadResourceRequest{
		TypeName: resourceType, CurrentState: c.w.schema.dynamic(before), Private: i.private, CurrentIdentity: i.identity,
	})
	if err != nil {
		return i, before, err
	}
	if err := c.add(address, resp.Diagnostics); err != nil {
		return i, before, err
	}
	after := c.w.schema.decode(resp.NewState)
	if after == nil {
		return nil, nil, nil
	}
	if !c.w.schema.value(after).IsFullyKnown() {
		c.w.violate(6, "the refresh of %s returns unknown values", address)
		return i, before, errFailed
	}
	refreshed := *i
	refreshed.object, refreshed.private, refreshed.identity, refreshed.upgraded = after, resp.Private, resp.NewIdentity, false
	c.w.looked(c, l, i, &refreshed, after, true, true)
	return &refreshed, after, nil
}

type action string

const (
	noOp    action = "no-op"
	create  action = "create"
	update  action = "update"
	replace action = "replace"
	destroy action = "destroy"
)

// change is a planned change.
type change struct {
	action  action
	prior   object
	planned object
	private []byte
}

// plan plans an instance. config is nil if it is to be destroyed.
func (c *command) plan(address string, config object, i *instance, current object, forceReplace bool) (*change, error) {
	s := c.w.schema
	prior := current
	var private []byte
	var identity *tfprotov6.ResourceIdentityData
	if i != nil && !i.tainted {
		private, identity = i.private, i.identity
	} else {
		prior = nil
	}
	if config == nil {
		resp, err := c.planOnce(address, current, nil, nil, i.private, i.identity)
		if err != nil {
			return nil, err
		}
		return &change{destroy, current, nil, resp.PlannedPrivate}, nil
	}
	resp, err := c.planOnce(address, prior, config, s.proposedNew(prior, config), private, identity)
	if err != nil {
		return nil, err
	}
	planned := s.decode(resp.PlannedState)
	if planned == nil {
		c.w.violate(6, "%s is planned away", address)
		return nil, errFailed
	}
	if err := s.invalidPlan(prior, config, planned); err != nil {
		c.w.violate(6, "Provider produced invalid plan for %s: %v", address, err)
		return nil, errFailed
	}
	ch := &change{prior: prior, planned: planned, private: resp.PlannedPrivate}
	mustReplace := slices.ContainsFunc(resp.RequiresReplace, func(p *tftypes.AttributePath) bool {
		was, _, err := tftypes.WalkAttributePath(s.value(prior), p)
		is, _, err2 := tftypes.WalkAttributePath(s.value(planned), p)
		if err != nil || err2 != nil {
			return true
		}
		return !was.(tftypes.Value).Equal(is.(tftypes.Value))
	})
	switch {
	case prior == nil:
		ch.action = create
	case mustReplace || forceReplace:
		ch.action = replace
	case s.value(prior).Equal(s.value(planned)):
		ch.action = noOp
	default:
		ch.action = update
	}
	if ch.action == replace { // planned again, as if it were created
		resp, err := c.planOnce(address, nil, config, s.proposedNew(nil, config), ch.private, nil)
		if err != nil {
			return nil, err
		}
		ch.planned, ch.private = s.decode(resp.PlannedState), resp.PlannedPrivate
		if err := s.invalidPlan(nil, config, ch.planned); err != nil {
			c.w.violate(6, "Provider produced invalid plan for %s: %v", address, err)
			return nil, errFailed
		}
	}
	if i != nil && i.tainted {
		ch.action, ch.prior = replace, current
	}
	return ch, nil
}

func (c *command) planOnce(address string, prior, config, proposed object, private []byte, identity *tfprotov6.ResourceIdentityData) (*tfprotov6.PlanResourceChangeResponse, error) {
	s := c.w.schema
	resp, err := call(c, "plan", address, c.server().PlanResourceChange, &tfprotov6.PlanResourceChangeRequest{
		TypeName: resourceType, PriorState: s.dynamic(prior), ProposedNewState: s.dynamic(proposed), Config: s.dynamic(config),
		PriorPrivate: private, PriorIdentity: identity,
	})
	if err != nil {
		return nil, err
	}
	return resp, c.add(address, resp.Diagnostics)
}

// validate validates a configuration, once: the answer depends on nothing else.
func (c *command) validate(address string, conf config, config object, planning bool) error {
	if !planning {
		conf.Unknown = 0
	}
	if c.w.isValid(conf) {
		return nil
	}
	resp, err := call(c, "validate", address, c.server().ValidateResourceConfig, &tfprotov6.ValidateResourceConfigRequest{
		TypeName: resourceType, Config: c.w.schema.dynamic(config),
		ClientCapabilities: &tfprotov6.ValidateResourceConfigClientCapabilities{WriteOnlyAttributesAllowed: true},
	})
	if err != nil {
		return err
	}
	if err := c.add(address, resp.Diagnostics); err != nil {
		return err
	}
	c.w.valid(conf)
	return nil
}

// planned is the result of terraform plan.
type planned struct {
	changes map[string]*change
	prior   state // refreshed
	configs map[string]config
}

// planAll refreshes and plans all resources.
func (c *command) planAll(configs map[string]config, destroyAll bool) (*planned, error) {
	if err := c.start(); err != nil {
		return nil, err
	}
	w := c.w
	p := &planned{changes: map[string]*change{}, prior: state{}, configs: configs}
	addresses := map[string]bool{}
	for _, all := range []map[string]bool{keys(w.state), keys(configs)} {
		maps.Copy(addresses, all)
	}
	failed := false
	for _, address := range slices.Sorted(maps.Keys(addresses)) {
		if c.isStopping() {
			return nil, errFailed
		}
		var wanted object
		conf, ok := configs[address]
		if ok && !destroyAll {
			wanted = w.configValue(address, conf, true)
			if err := c.validate(address, conf, wanted, true); err != nil {
				if !errors.Is(err, errFailed) {
					return nil, err
				}
				failed = true
				continue
			}
		}
		i := w.state[address]
		var current object
		if i != nil {
			var err error
			if current, err = c.upgrade(address, i); err != nil {
				return nil, err
			}
			if c.refresh {
				before := current
				if i, current, err = c.read(address, i, current); err != nil {
					return nil, err
				}
				if i == nil {
					w.violate(4, "a refresh removes %s from the state, with %s", address, w.name(text(before["id"])))
					return nil, errFailed
				}
			}
			p.prior[address] = i
		}
		if i == nil && wanted == nil {
			continue
		}
		ch, err := c.plan(address, wanted, i, current, c.replace == address)
		if err != nil {
			if !errors.Is(err, errFailed) {
				return nil, err
			}
			failed = true
			continue
		}
		p.changes[address] = ch
		w.say("    plan: %s %s", ch.action, address)
		if wanted != nil {
			w.checkAskedFor(address, conf, i, current, ch, c.replace == address)
		}
	}
	if failed || c.isStopping() {
		return nil, errFailed
	}
	return p, nil
}

func keys[V any](m map[string]V) map[string]bool {
	found := map[string]bool{}
	for k := range m {
		found[k] = true
	}
	return found
}

// applyAll applies a plan to all resources at the same time. Each result is stored at once, as in a state file.
func (c *command) applyAll(p *planned) error {
	w := c.w
	w.setState(maps.Clone(p.prior)) // what the refresh found
	if c.isStopping() {
		return errFailed
	}
	if err := c.start(); err != nil {
		return err
	}
	pipelines := map[string]int{}
	for address, ch := range p.changes {
		if ch.action != noOp && ch.action != destroy {
			pipelines[w.pipelineOf(p.configs[address])]++
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, address := range slices.Sorted(maps.Keys(p.changes)) {
		ch := p.changes[address]
		if ch.action == noOp {
			continue
		}
		all.Go(func() {
			conf := p.configs[address]
			err := c.apply(address, conf, p.prior[address], ch, pipelines[w.pipelineOf(conf)] == 1)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	for _, which := range []error{errKilled, errDied, errFailed} {
		if slices.Contains(errs, which) {
			return which
		}
	}
	if c.isStopping() {
		return errFailed
	}
	return errors.Join(errs...)
}

// apply applies one change.
func (c *command) apply(address string, conf config, i *instance, ch *change, exclusive bool) error {
	w, s := c.w, c.w.schema
	if c.isStopping() {
		return errFailed
	}
	if ch.action == destroy || ch.action == replace {
		if err := c.applyOnce(address, &change{destroy, ch.prior, nil, ch.private}, nil, i, nil, exclusive); err != nil {
			return err
		}
		if ch.action == destroy || c.isStopping() {
			return nil
		}
		i = nil
	}
	// Validated and planned again, with what has become known.
	wanted := w.configValue(address, conf, false)
	if conf.Unknown != 0 {
		if err := c.validate(address, conf, wanted, false); err != nil {
			return err
		}
	}
	var current object
	if i != nil {
		current = ch.prior
	}
	final, err := c.plan(address, wanted, i, current, false)
	if err != nil {
		return err
	}
	was := ch.action
	if was == replace {
		was = create
	}
	if was == update && final.action == replace && failureIsUndecided(conf, current) {
		w.counts["known limit: a failure that is decided on too late"]++
		return c.fail(address, "Provider produced inconsistent final plan")
	}
	if final.action != was && !(was == update && final.action == noOp) {
		w.violate(6, "Provider produced inconsistent final plan: it changed the planned action for %s from %s to %s", address, was, final.action)
		return c.fail(address, "Provider produced inconsistent final plan")
	}
	if err := incompatible(address, s.value(ch.planned), s.value(final.planned)); err != nil {
		w.violate(6, "Provider produced inconsistent final plan: %v", err)
		return c.fail(address, "Provider produced inconsistent final plan")
	}
	if final.action == noOp {
		return nil
	}
	return c.applyOnce(address, final, wanted, i, &conf, exclusive)
}

// failureIsUndecided is a known limit: whether a failed run is to be replaced was not known while planning, so an update was
// planned, and now a new run is asked for. Terraform lets no provider change its mind then, and none can see that it is asked
// again. The apply fails, nothing is started, and the next plan has the new run.
func failureIsUndecided(c config, current object) bool {
	return text(current["status"]) == "failed" && slices.Contains([]string{"on_failure", "wait_for_completion"}, unknowns[c.Unknown])
}

func (c *command) applyOnce(address string, ch *change, config object, i *instance, conf *config, exclusive bool) error {
	w, s := c.w, c.w.schema
	var l *look
	var cr *creation
	if ch.action == update {
		l = w.looking(address, ch.prior)
	}
	if ch.action == create {
		l = w.looking(address, nil)
		cr = &creation{address: address, pipeline: w.pipelineOf(*conf), body: w.bodyOf(address, *conf), from: l.from, plugin: c.plugin}
		if key := keyOf(address, *conf); key != "" {
			cr.key, cr.intent = fmt.Sprintf(`{"_idempotency_key":"%s/`, key), w.intent(address, *conf)
			cr.earlier, cr.failed = w.adoptable(cr)
		}
		c.mu.Lock()
		c.creates = append(c.creates, cr)
		c.mu.Unlock()
	}
	var identity *tfprotov6.ResourceIdentityData
	if i != nil {
		identity = i.identity
	}
	resp, err := call(c, "apply "+string(ch.action)+" of", address, c.server().ApplyResourceChange, &tfprotov6.ApplyResourceChangeRequest{
		TypeName: resourceType, PriorState: s.dynamic(ch.prior), PlannedState: s.dynamic(ch.planned), Config: s.dynamic(config),
		PlannedPrivate: ch.private, PlannedIdentity: identity,
	})
	if cr != nil {
		cr.err, cr.until, cr.stopped = err, time.Now(), c.isStopping()
	}
	if err != nil {
		if errors.Is(err, errDied) {
			_ = c.fail(address, "Plugin did not respond")
		}
		return err
	}
	failed := c.add(address, resp.Diagnostics) != nil
	after := s.decode(resp.NewState)
	if cr != nil {
		cr.state = after
		for _, d := range resp.Diagnostics {
			cr.diags = append(cr.diags, diagnostic{address, d.Severity == tfprotov6.DiagnosticSeverityError, d.Summary + ": " + d.Detail})
		}
	}
	if ch.action == destroy {
		if after != nil || failed {
			w.violate(6, "%s is still there after its destruction", address)
			return errFailed
		}
		w.store(address, nil)
		return nil
	}
	switch {
	case after == nil && !failed:
		w.violate(6, "Provider produced inconsistent result after apply: %s is absent", address)
		return errFailed
	case after == nil:
		return errFailed // a new one is not stored, and an old one stays as it was
	case !s.value(after).IsFullyKnown():
		w.violate(6, "Provider returned invalid result object after apply: %s has unknown values", address)
		return errFailed
	}
	if !failed {
		if err := incompatible(address, s.value(ch.planned), s.value(after)); err != nil {
			w.violate(6, "Provider produced inconsistent result after apply: %v", err)
		}
	}
	stored := &instance{object: after, private: resp.Private, identity: resp.NewIdentity, tainted: failed && ch.action == create}
	if stored.tainted && c.isStopping() && c.said(address, "Stopped waiting") {
		w.violate(4, "the interrupt taints %s, so that the next plan starts another run", address)
	}
	w.store(address, stored)
	w.looked(c, l, i, stored, after, false, exclusive)
	if failed {
		return errFailed
	}
	return nil
}

// importRun is terraform import. The address is not in the state.
func (c *command) importRun(address, id string) error {
	if err := c.start(); err != nil {
		return err
	}
	resp, err := call(c, "import", address, c.server().ImportResourceState, &tfprotov6.ImportResourceStateRequest{TypeName: resourceType, ID: id})
	if err != nil {
		return err
	}
	if err := c.add(address, resp.Diagnostics); err != nil {
		return err
	}
	found := resp.ImportedResources[0]
	o := c.w.schema.decode(found.State)
	i := &instance{object: o, private: found.Private, identity: found.Identity, imported: true}
	read, _, err := c.read(address, i, o)
	if err != nil {
		return err
	}
	if read == nil {
		return c.fail(address, "Cannot import non-existent remote object")
	}
	c.w.store(address, read)
	return nil
}
