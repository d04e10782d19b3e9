package modeltest

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// invariants are what must hold in every history.
var invariants = []string{
	1: "A run request is sent again only after an answer, or the lack of a connection, that proves that nothing was started.",
	2: "With an idempotency_key, no second run of the same intent is started while the log of the last day shows the first one with its trigger, not failed, whatever was killed in between.",
	3: "No run that was started is forgotten without a diagnostic that names it or says that it may exist, unless the process that started it was killed: then the provider's log names it as soon as its UUID is known.",
	4: "Nothing that Ylem says or fails to say makes a plan start a run that was not asked for.",
	5: "A status never contradicts the rows that Ylem has shown, takes none of them back, and is not final while a guess may still turn out to be wrong.",
	6: "A second plan right after an apply is empty, and no answer of the provider is one that Terraform refuses.",
}

// learn keeps the rows that Ylem has ever shown.
func (w *world) learn(requests []ylemtest.Request) {
	for _, r := range requests {
		if r.At.Before(w.parsed) {
			continue
		}
		for _, row := range rowsOf(r) {
			w.ever[row.key()] = row
		}
	}
	if len(requests) > 0 {
		w.parsed = requests[len(requests)-1].At
	}
	for _, run := range w.server.Runs("") {
		w.name(run.UUID)
	}
}

// of reports whether a request is about a pipeline.
func of(r ylemtest.Request, route ylemtest.Route, pipeline string) bool {
	return r.Route == route && strings.Contains(strings.ToLower(r.Path), pipeline)
}

// checkCreations checks invariants 1 and 3, and of 4 that no other call starts a run.
func (w *world) checkCreations(c *command, requests []ylemtest.Request) {
	attributed := 0
	for _, cr := range c.creates {
		var attempts []ylemtest.Request
		for _, r := range requests {
			if of(r, ylemtest.RouteRun, cr.pipeline) && cr.sends(string(r.Body)) && !r.At.Before(cr.from) {
				attempts = append(attempts, r)
			}
		}
		attributed += len(attempts)
		var started []ylemtest.Request
		for i, r := range attempts {
			w.say("    %s: run request answered with %d, %s was started", cr.address, r.Status, w.name(r.Run))
			if r.Run != "" {
				started = append(started, r)
			}
			if i < len(attempts)-1 && (r.Run != "" || !provesNothingStarted(r)) {
				w.violate(1, "the run request of %s is sent again after the answer %d, with which %s was started", cr.address, r.Status, w.name(r.Run))
			}
		}
		w.counts["creations"]++
		w.counts["repeated run requests"] += max(0, len(attempts)-1)
		w.checkCreation(c, cr, started)
	}
	for _, r := range requests {
		if r.Route == ylemtest.RouteRun && !r.At.Before(c.began) {
			attributed--
		}
	}
	if attributed < 0 {
		w.violate(4, "a run was requested by something else than a creation")
	}
}

func (w *world) checkCreation(c *command, cr *creation, started []ylemtest.Request) {
	var said string
	doubtful := false
	for _, d := range cr.diags {
		said += d.text + "\n"
		doubtful = doubtful || d.isError && strings.Contains(d.text, "may have been started") && strings.Contains(strings.ToLower(d.text), cr.pipeline)
	}
	id := ""
	if cr.state != nil {
		id = text(cr.state["id"])
	}
	if len(started) == 0 {
		if slices.Contains(cr.failed, id) {
			w.violate(2, "%s adopts %s, which has failed", cr.address, w.name(id))
		}
		if id != "" && cr.key != "" && slices.Contains(w.intents[cr.intent], id) {
			w.counts["adopted by key"]++
		} else if id != "" {
			w.violate(3, "%s holds a run that was not started", cr.address)
		}
		if doubtful {
			w.counts["doubts without a run"]++
		}
		return
	}
	r := started[0]
	delivered := (r.Status == 201 || r.Status == 200) && r.Sent == len(r.AnswerBody) && strings.Contains(string(r.AnswerBody), r.Run)
	delivered = delivered && !c.disconnected()
	w.counts["runs"]++
	if cr.err != nil {
		w.counts["runs of a killed creation"]++
		// The log is what is left, unless the process ended in the moment of the answer.
		if delivered && cr.until.Sub(r.AnsweredAt) > time.Millisecond && !strings.Contains(cr.plugin.logged(), "Started run "+r.Run) {
			w.violate(3, "%s was killed while it waited, and the log does not name %s", cr.address, w.name(r.Run))
		}
		w.known[r.Run] = "killed"
		return
	}
	switch {
	case id == r.Run:
		w.known[r.Run] = "stored"
	case id != "":
		w.violate(3, "%s holds %s, but %s was started", cr.address, w.name(id), w.name(r.Run))
	case strings.Contains(said, "No run of pipeline"):
		w.violate(3, "%s says that no run was started, but %s was", cr.address, w.name(r.Run))
	case delivered:
		w.violate(3, "Ylem named %s, but %s keeps nothing", w.name(r.Run), cr.address)
	case doubtful:
		w.counts["doubts with a run"]++
		w.known[r.Run] = "doubtful"
	default:
		w.violate(3, "%s says nothing of %s:\n%s", cr.address, w.name(r.Run), said)
	}
}

// sends reports whether a run request is one of the creation.
func (cr *creation) sends(body string) bool {
	if cr.key == "" {
		return body == cr.body
	}
	rest, ok := strings.CutPrefix(body, cr.key)
	if !ok {
		return false
	}
	_, rest, _ = strings.Cut(rest, `"`) // after the fingerprint
	return strings.TrimPrefix(rest, ",") == strings.TrimPrefix(cmp.Or(cr.body, "{}"), "{")
}

// adoptable are the runs of an intent that a start with its key can find by now: those that the log of the last day shows. Those
// of which a task has failed are no longer what is to be found.
func (w *world) adoptable(cr *creation) (runs, ended []string) {
	for _, run := range w.intents[cr.intent] {
		found, newest := false, time.Time{}
		rows := w.server.Rows(run)
		for _, r := range rows {
			found = found || r.TaskType == "external_trigger" && strings.HasPrefix(string(r.Output), cr.key)
			if r.ExecutedAt.After(newest) {
				newest = r.ExecutedAt
			}
		}
		failed := slices.ContainsFunc(rows, func(r ylemtest.Row) bool { return !r.IsSuccessful && r.JSON["is_successful"] == "" })
		if failed {
			ended = append(ended, run)
		} else if found && time.Since(newest) < 24*time.Hour-time.Minute {
			runs = append(runs, run)
		}
	}
	return runs, ended
}

// checkKeys checks invariant 2: while a run with a key can be found, no other run of the same intent is started.
func (w *world) checkKeys(c *command, requests []ylemtest.Request) {
	for _, cr := range c.creates {
		if cr.key == "" {
			continue
		}
		w.counts["creations with a key"]++
		still, _ := w.adoptable(cr)
		earlier := slices.DeleteFunc(cr.earlier, func(run string) bool { return !slices.Contains(still, run) })
		for _, r := range requests {
			if r.Run == "" || !of(r, ylemtest.RouteRun, cr.pipeline) || !cr.sends(string(r.Body)) || r.At.Before(cr.from) {
				continue
			}
			if len(earlier) > 0 && !w.troubled && !c.disconnected() {
				w.violate(2, "%s starts %s, although %s with the same key can be found and has not failed", cr.address, w.name(r.Run), w.name(earlier[0]))
			}
			w.intents[cr.intent] = append(w.intents[cr.intent], r.Run)
		}
	}
}

// checkNothingLost checks invariant 3 for what was in the state before.
func (w *world) checkNothingLost(c *command, p *planned) {
	for _, run := range w.server.Runs("") {
		if w.known[run.UUID] == "" {
			w.violate(3, "nothing knows %s", w.name(run.UUID))
		}
	}
	for address, before := range w.previous {
		if w.state[address] != nil {
			continue
		}
		if p != nil && p.changes[address] != nil && (p.changes[address].action == destroy || p.changes[address].action == replace) {
			continue
		}
		w.violate(3, "%s has lost %s", address, w.name(text(before.object["id"])))
	}
}

// checkAskedFor checks invariant 4: a plan starts a run only for a reason.
func (w *world) checkAskedFor(address string, c config, i *instance, current object, ch *change, forced bool) {
	reason := ""
	configured := w.configValue(address, c, true)
	adopts := func(name string) bool { return i.imported && isNull(current[name]) }
	switch {
	case i == nil:
		reason = "it does not exist"
	case i.tainted:
		reason = "it is tainted"
	case forced:
		reason = "-replace"
	case !strings.EqualFold(text(current["pipeline_uuid"]), text(configured["pipeline_uuid"])):
		reason = "another pipeline"
	case (!configured["input"].IsKnown() || text(current["input"]) != text(configured["input"])) && !adopts("input"):
		reason = "another input"
	case !isNull(configured["idempotency_key"]) && !current["idempotency_key"].Equal(configured["idempotency_key"]) && !adopts("idempotency_key"):
		reason = "another key"
	case !current["input_wo_version"].Equal(configured["input_wo_version"]) && !adopts("input_wo_version"):
		reason = "another version of the input"
	case triggersChanged(current["triggers"], configured["triggers"]) && !adopts("triggers"):
		reason = "other triggers"
	case text(current["status"]) == "failed" && !i.imported && configured["wait_for_completion"].IsKnown() && truth(configured["wait_for_completion"]) &&
		configured["on_failure"].IsKnown() && text(configured["on_failure"]) != "warn":
		reason = "it has failed"
	}
	starts := ch.action == create || ch.action == replace
	if ch.action == update && i.imported && (!isNull(configured["input"]) || !isNull(configured["triggers"]) || !isNull(configured["input_wo_version"])) {
		w.counts["adopted"]++
	}
	if starts && reason == "" {
		w.violate(4, "the plan starts a run for %s, although %s, %s, is all that was asked for", address, w.name(text(current["id"])), text(current["status"]))
	}
	if !starts && reason != "" {
		w.violate(4, "the plan starts no run for %s, although it is asked for: %s", address, reason)
	}
	if starts && i != nil {
		w.counts["replaced: "+reason]++
	}
}

func triggersChanged(state, configured tftypes.Value) bool {
	if isNull(configured) || state.Equal(configured) {
		return false
	}
	return !configured.IsKnown() || len(members(state))+len(members(configured)) > 0
}

// checkSecondPlan checks invariant 6. What a plan says right after an apply without errors, other than nothing, must be what
// the apply has said before, or what a row says that came in between.
func (w *world) checkSecondPlan(address string, c *command, ch *change, applied *instance) {
	if applied == nil {
		w.violate(6, "the second plan: %s %s", ch.action, address)
		return
	}
	was, is := applied.object, ch.prior
	status := text(is["status"])
	said := func(part string) bool { return c.said(address, part) }
	waits := truth(is["wait_for_completion"])
	switch {
	case ch.action == replace && status == "failed" && (text(was["status"]) != "failed" || said("The imported run failed") || said("The run failed: ")):
	case ch.action == update && waits && (status == "pending" || status == "running") && (said("outlasted the timeout") || text(was["status"]) != status):
	default:
		w.violate(6, "the second plan: %s %s, which is %s, and was %s after the apply", ch.action, address, status, text(was["status"]))
	}
}

// notes are what the model itself knows of an instance.
type notes struct {
	rows    map[rowKey]row // that were shown while the provider looked at the run
	certain bool           // the end was certain, with the configuration of that time
}

// looking is called before a call that may look at a run.
func (w *world) looking(address string, before object) *look {
	l := &look{address: address, before: before, from: time.Now()}
	if before != nil && !w.troubled {
		l.clean, l.visible = true, w.visible(text(before["id"]))
	}
	return l
}

// visible are the rows of a run that Ylem's log holds.
func (w *world) visible(id string) (rows []row) {
	for _, r := range w.server.Rows(id) {
		rows = append(rows, row{run: strings.ToLower(r.PipelineRunUUID), task: r.TaskUUID, at: r.ExecutedAt})
	}
	return rows
}

// looked is called after it, with the instance that holds the result.
func (w *world) looked(c *command, l *look, base, result *instance, after object, reading, exclusive bool) {
	if l.clean { // a row can vanish before it is looked for
		still := w.visible(text(after["id"]))
		l.visible = slices.DeleteFunc(l.visible, func(r row) bool {
			return !slices.ContainsFunc(still, func(s row) bool { return s.key() == r.key() })
		})
	}
	l.after, l.to, l.base, l.result, l.reading, l.exclusive = after, time.Now(), base, result, reading, exclusive
	l.clean = l.clean && !c.hasHappened() && reading
	l.cutShort = c.said(l.address, "outlasted the timeout") || c.said(l.address, "Stopped waiting")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks = append(c.looks, l)
}

// checkLooks checks invariant 5.
func (w *world) checkLooks(c *command, requests []ylemtest.Request) {
	for _, l := range c.looks {
		if l.result == nil {
			continue
		}
		known := notes{rows: map[rowKey]row{}}
		if l.base != nil && l.before != nil && text(l.before["id"]) == text(l.after["id"]) {
			for k, r := range l.base.notes.rows {
				known.rows[k] = r
			}
			known.certain = l.base.notes.certain
		}
		id := strings.ToLower(text(l.after["id"]))
		pipeline := strings.ToLower(text(l.after["pipeline_uuid"]))
		for _, r := range requests {
			if !l.exclusive || c.disconnected() || !of(r, ylemtest.RouteLogs, pipeline) || r.At.Before(l.from) || r.At.After(l.to) || r.AnsweredAt.After(l.to) ||
				l.cutShort && l.to.Sub(r.AnsweredAt) < 10*time.Millisecond {
				continue
			}
			rows := rowsOf(r)
			if rows == nil {
				continue
			}
			l.answered, l.latest = true, nil
			for _, row := range rows {
				if row.run == id {
					known.rows[row.key()] = row
					l.latest = append(l.latest, row.key())
				}
			}
		}
		w.checkLook(l, &known)
		l.result.notes = known
	}
}

func (w *world) checkLook(l *look, known *notes) {
	id, status := strings.ToLower(text(l.after["id"])), text(l.after["status"])
	run := w.name(text(l.after["id"]))
	reported := map[rowKey]bool{}
	outcomes := map[string]bool{}
	var newest time.Time
	forEach := false
	for _, v := range elements(l.after["task_runs"]) {
		task := members(v)
		if isNull(task["executed_at"]) {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, text(task["executed_at"]))
		must(err)
		reported[rowKey{id, strings.ToLower(text(task["task_uuid"])), at.UnixNano()}] = true
		if !isNull(task["is_successful"]) {
			outcomes[strings.ToLower(text(task["task_uuid"]))] = true
		}
		forEach = forEach || text(task["task_type"]) == "for_each"
		if at.After(newest) {
			newest = at
		}
	}
	failed := false
	for key, r := range known.rows {
		failed = failed || r.failed()
		if !reported[key] {
			w.violate(5, "%s has shown a row of task %s at %s, but the state of %s, %s, has it no more", run, r.task, r.at.Format(time.TimeOnly), l.address, status)
		}
	}
	everFailed := false
	for _, r := range w.ever {
		everFailed = everFailed || r.run == id && r.failed()
	}
	before := ""
	if l.before != nil && text(l.before["id"]) == text(l.after["id"]) {
		before = text(l.before["status"])
	}
	switch {
	case failed && status != "failed":
		w.violate(5, "a task of %s has failed, but %s is %s", run, l.address, status)
	case status == "failed" && !everFailed:
		w.violate(5, "%s is failed, but Ylem has shown no failed task of %s", l.address, run)
	case status == "succeeded" && len(reported) == 0:
		w.violate(5, "%s is succeeded, but no task of %s has reported", l.address, run)
	case before == "failed" && status != "failed":
		w.violate(5, "%s was failed, and is %s", l.address, status)
	case known.certain && status != "succeeded":
		w.violate(5, "%s certainly was succeeded, and is %s", l.address, status)
	}
	if before == "succeeded" && status != "succeeded" {
		w.counts["reopened"]++
	}
	if l.clean && before != "failed" && !known.certain {
		w.checkLooked(l, reported, run)
	}

	final := elements(members(l.after["completion"])["final_task_uuids"])
	if status == "succeeded" && len(final) > 0 && !forEach &&
		!slices.ContainsFunc(final, func(v tftypes.Value) bool { return !outcomes[strings.ToLower(text(v))] }) {
		known.certain = true
		w.counts["certain"]++
	}
	if status == "succeeded" && before != "succeeded" && !known.certain && l.to.Sub(newest) < 24*time.Hour-10*time.Second {
		w.checkGuess(l, known, run)
	}
	w.counts["status "+status]++
}

// checkGuess checks that a success is presumed, less than a day after the newest row, only where somebody has chosen that, and
// only from a log that has lost none of the rows that were there.
func (w *world) checkGuess(l *look, known *notes, run string) {
	w.counts["guesses"]++
	if !truth(l.after["wait_for_completion"]) && isNull(l.after["completion"]) {
		w.violate(5, "%s is presumed to be succeeded, although nothing asks for a guess", run)
	}
	if !l.answered {
		return
	}
	for key := range known.rows {
		if !slices.Contains(l.latest, key) {
			w.violate(5, "%s is presumed to be succeeded from a log that has lost a row of task %s", run, key.task)
			return
		}
	}
}

// checkLooked checks that a refresh of a run that has not ended for good shows what Ylem does, where nothing was in the way.
func (w *world) checkLooked(l *look, reported map[rowKey]bool, run string) {
	if text(l.before["status"]) == "succeeded" {
		var newest time.Time
		for _, v := range elements(l.before["task_runs"]) {
			if at, err := time.Parse(time.RFC3339Nano, text(members(v)["executed_at"])); err == nil && at.After(newest) {
				newest = at
			}
		}
		if l.from.Sub(newest) > 24*time.Hour-10*time.Second {
			return // settled
		}
	}
	triggered, err := time.Parse(time.RFC3339Nano, text(l.before["triggered_at"]))
	if err != nil || len(l.visible) > 0 && l.visible[0].at.Sub(triggered) > 7*24*time.Hour-time.Minute {
		return // the first row of a run is looked for within a week
	}
	w.counts["clean refreshes"]++
	for _, r := range l.visible {
		if !reported[r.key()] {
			w.violate(5, "Ylem's log holds a row of task %s of %s, but a refresh of %s does not find it: it was %s, and is %s",
				r.task, run, l.address, text(l.before["status"]), text(l.after["status"]))
			return
		}
	}
}
