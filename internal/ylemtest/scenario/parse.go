package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// A scenario is bounded, so that a typo is an error and does not take all memory.
const (
	maxDuration = 366 * 24 * time.Hour
	maxAgo      = 50 * maxDuration
	maxItems    = 1000
	maxTasks    = 200    // of a pipeline
	maxRows     = 50_000 // of all past runs, and of one run of each pipeline
)

// The fields that are accepted.
var (
	scenarioFields = []string{"pipelines"}
	pipelineFields = []string{"uuid", "name", "paused", "template", "tasks", "runs"}
	taskFields     = []string{
		"uuid", "name", "type", "duration", "after", "output", "errors", "items", "fail_on_pass", "metric", "inactive", "unending",
	}
	errorFields   = []string{"code", "severity", "message"}
	runFields     = []string{"ago", "at", "every", "times", "uuid", "input", "tasks"}
	runTaskFields = []string{"task", "duration", "output", "errors"}
)

// Parse reads a scenario. Its error names all that is wrong, each with its place.
func Parse(text []byte) (Scenario, error) {
	r := &reader{uuids: map[string]string{}}
	var s Scenario
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // as Windows editors write it
	value, ok := r.document(text)
	if ok {
		o := r.object("", value, scenarioFields)
		for _, e := range o.list("pipelines") {
			s.Pipelines = append(s.Pipelines, r.pipeline(e))
		}
	}
	if len(r.faults) == 0 {
		r.checkSize(s)
	}
	return s, errors.Join(r.faults...)
}

// reader collects what is wrong.
type reader struct {
	faults []error
	uuids  map[string]string // of everything, and its place
}

func (r *reader) fault(place, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if place != "" {
		text = place + ": " + text
	}
	r.faults = append(r.faults, errors.New(text))
}

// document is the JSON value of a text that holds nothing else.
func (r *reader) document(text []byte) (json.RawMessage, bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	var value json.RawMessage
	err := decoder.Decode(&value)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return value, true
		}
		err = errors.New("unexpected text after the JSON value")
	} else if errors.Is(err, io.EOF) {
		err = errors.New("the text is empty; {} is a scenario without pipelines")
	}
	offset := decoder.InputOffset()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = syntax.Offset
	}
	before := text[:min(max(int(offset), 0), len(text))]
	line := 1 + bytes.Count(before, []byte("\n"))
	r.fault(fmt.Sprintf("line %d", line), "not valid JSON: %s", err)
	return nil, false
}

// object is a JSON object with known fields.
type object struct {
	r      *reader
	place  string
	fields map[string]json.RawMessage
}

// element is a value and where it is.
type element struct {
	place string
	value json.RawMessage
}

func (r *reader) object(place string, value json.RawMessage, accepted []string) object {
	o := object{r, place, map[string]json.RawMessage{}}
	decoder := json.NewDecoder(bytes.NewReader(value))
	if token, _ := decoder.Token(); token != json.Delim('{') {
		r.fault(place, "expected an object with the fields %s; found %s", strings.Join(accepted, ", "), kind(value))
		return o
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			r.fault(place, "%s", err)
			return o
		}
		name, _ := token.(string)
		var field json.RawMessage
		if err := decoder.Decode(&field); err != nil {
			r.fault(o.at(name), "%s", err)
			return o
		}
		switch _, twice := o.fields[name]; {
		case !slices.Contains(accepted, name):
			r.fault(place, "unknown field %q; accepted are %s", name, strings.Join(accepted, ", "))
		case twice:
			r.fault(place, "the field %q is there twice", name)
		case string(field) != "null":
			o.fields[name] = field
		}
	}
	return o
}

func (o object) at(field string) string {
	if o.place == "" {
		return field
	}
	return o.place + "." + field
}

func (o object) has(field string) bool {
	_, ok := o.fields[field]
	return ok
}

// kind is what a value is, in words.
func kind(value json.RawMessage) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "the text " + string(value)
	case 't', 'f':
		return string(value)
	case 'n':
		return "null"
	}
	return "the number " + string(value)
}

// read decodes a field, if it is there.
func read[T any](o object, field, expected string) (v T) {
	value, ok := o.fields[field]
	if !ok {
		return v
	}
	if err := json.Unmarshal(value, &v); err != nil {
		o.r.fault(o.at(field), "expected %s; found %s", expected, kind(value))
		var none T
		return none
	}
	return v
}

func (o object) text(field string) string    { return read[string](o, field, "a text") }
func (o object) truth(field string) bool     { return read[bool](o, field, "true or false") }
func (o object) number(field string) float64 { return read[float64](o, field, "a number") }

// count is a whole number within limits.
func (o object) count(field string, low, high int) int {
	if !o.has(field) {
		return 0
	}
	expected := fmt.Sprintf("a whole number from %d to %d", low, high)
	faults := len(o.r.faults)
	n := read[int](o, field, expected)
	if len(o.r.faults) == faults && (n < low || n > high) {
		o.r.fault(o.at(field), "expected %s; found %d", expected, n)
	}
	return n
}

// duration is a duration within limits.
func (o object) duration(field string, low, high time.Duration) time.Duration {
	value, ok := o.fields[field]
	if !ok {
		return 0
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		o.r.fault(o.at(field), `expected a duration such as "90s" or "36h"; found %s`, kind(value))
		return 0
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		o.r.fault(o.at(field), `expected a duration such as "90s" or "36h" (days are written as hours); found %q`, text)
		return 0
	case d < low || d > high:
		o.r.fault(o.at(field), "expected a duration from %s to %s; found %q", low, high, text)
		return 0
	}
	return d
}

func (o object) list(field string) (elements []element) {
	var values []json.RawMessage
	if value, ok := o.fields[field]; ok && json.Unmarshal(value, &values) != nil {
		o.r.fault(o.at(field), "expected a list; found %s", kind(value))
	}
	for i, value := range values {
		elements = append(elements, element{fmt.Sprintf("%s[%d]", o.at(field), i), value})
	}
	return elements
}

// data is text as it is, or any other JSON without its white space.
func (o object) data(field string) []byte {
	value, ok := o.fields[field]
	if !ok {
		return nil
	}
	var text string
	if json.Unmarshal(value, &text) == nil {
		return []byte(text)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		o.r.fault(o.at(field), "%s", err)
	}
	return compact.Bytes()
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// uuid is a UUID that nothing else in the scenario has.
func (o object) uuid(field string) string {
	uuid := o.text(field)
	if !o.has(field) || uuid == "" && !bytes.Equal(o.fields[field], []byte(`""`)) {
		return ""
	}
	if !uuidForm.MatchString(uuid) {
		o.r.fault(o.at(field), `expected a UUID of version 4 in lower case, such as "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"; found %q`, uuid)
		return ""
	}
	o.r.claim(o.at(field), uuid)
	return uuid
}

func (r *reader) claim(place, uuid string) {
	if other, taken := r.uuids[uuid]; taken {
		r.fault(place, "%s is already %s", uuid, other)
		return
	}
	r.uuids[uuid] = place
}

func (r *reader) pipeline(e element) (p Pipeline) {
	o := r.object(e.place, e.value, pipelineFields)
	p.UUID, p.Name = o.uuid("uuid"), o.text("name")
	if !o.has("uuid") && e.value[0] == '{' {
		r.fault(e.place, `the field "uuid" is missing, such as "uuid": %q`, derivedUUID(e.place, -1))
	}
	p.Paused, p.Template = o.truth("paused"), o.truth("template")
	tasks := o.list("tasks")
	if !o.has("tasks") {
		tasks = []element{{o.at("tasks"), json.RawMessage(`{"duration": "20ms"}`)}}
	}
	if len(tasks) > maxTasks {
		r.fault(o.at("tasks"), "%d tasks are more than %d", len(tasks), maxTasks)
		return p
	}
	p.Tasks = []ylemtest.Task{}
	var after [][]element
	for i, e := range tasks {
		task, name, earlier := r.task(e)
		if task.UUID == "" && p.UUID != "" {
			task.UUID = derivedUUID(p.UUID, i)
			r.claim(e.place, task.UUID)
		}
		if name != "" && slices.Contains(p.names, name) {
			r.fault(e.place, "another task of the pipeline has the name %q", name)
		}
		p.Tasks, p.names, after = append(p.Tasks, task), append(p.names, name), append(after, earlier)
	}
	for i := range p.Tasks {
		for _, e := range after[i] {
			if earlier := r.taskOf(p, e); earlier >= 0 {
				p.Tasks[i].After = append(p.Tasks[i].After, p.Tasks[earlier].UUID)
			}
		}
	}
	if len(r.faults) == 0 {
		r.checkOrder(e.place, p)
	}
	for _, e := range o.list("runs") {
		p.runs = append(p.runs, r.runs(p, e))
	}
	return p
}

func (r *reader) task(e element) (t ylemtest.Task, name string, after []element) {
	o := r.object(e.place, e.value, taskFields)
	t = ylemtest.Task{
		UUID: o.uuid("uuid"), Type: o.text("type"), Duration: o.duration("duration", 0, maxDuration),
		Output: o.data("output"), Errors: o.errors(), Items: o.count("items", 0, maxItems), FailOnPass: o.count("fail_on_pass", 1, maxRows),
		Metric: o.number("metric"), Inactive: o.truth("inactive"), Unended: o.truth("unending"),
	}
	if t.Type == "" {
		t.Type = "query"
	}
	if o.has("items") != (t.Type == "for_each") {
		r.fault(e.place, `a task of the type "for_each" needs the field "items", and no other may have it`)
	}
	if o.has("fail_on_pass") && !o.has("errors") {
		r.fault(o.at("fail_on_pass"), `it needs "errors"`)
	}
	return t, o.text("name"), o.list("after")
}

// errors are texts, or objects with a message.
func (o object) errors() (list []ylemtest.TaskError) {
	for _, e := range o.list("errors") {
		if e.value[0] == '"' {
			e.value = slices.Concat([]byte(`{"message":`), e.value, []byte("}"))
		}
		fields := o.r.object(e.place, e.value, errorFields)
		list = append(list, ylemtest.TaskError{
			Code: fields.count("code", 0, 1_000_000), Severity: fields.text("severity"), Message: fields.text("message"),
		})
	}
	return list
}

// taskOf is the index of the task that a name or a UUID means, or -1.
func (r *reader) taskOf(p Pipeline, e element) int {
	var name string
	if err := json.Unmarshal(e.value, &name); err != nil {
		r.fault(e.place, "expected the name or UUID of a task; found %s", kind(e.value))
		return -1
	}
	if i := slices.Index(p.names, name); i >= 0 && name != "" {
		return i
	}
	i := slices.IndexFunc(p.Tasks, func(t ylemtest.Task) bool { return t.UUID == name && name != "" })
	if i < 0 {
		var known []string
		for i := range p.Tasks {
			if known = append(known, p.names[i]); p.names[i] == "" {
				known[i] = p.Tasks[i].UUID
			}
		}
		r.fault(e.place, "the pipeline has no task %q; it has %s", name, strings.Join(known, ", "))
	}
	return i
}

// checkOrder refuses tasks that wait for each other.
func (r *reader) checkOrder(place string, p Pipeline) {
	left, placed := slices.Clone(p.Tasks), map[string]bool{}
	for before := -1; before != len(left); {
		before = len(left)
		left = slices.DeleteFunc(left, func(t ylemtest.Task) bool {
			ready := !slices.ContainsFunc(t.After, func(uuid string) bool { return !placed[uuid] })
			placed[t.UUID] = placed[t.UUID] || ready
			return ready
		})
	}
	if len(left) > 0 {
		i := slices.IndexFunc(p.Tasks, func(t ylemtest.Task) bool { return t.UUID == left[0].UUID })
		r.fault(fmt.Sprintf("%s.tasks[%d].after", place, i), "the tasks wait for each other")
	}
}

func (r *reader) runs(p Pipeline, e element) runs {
	o := r.object(e.place, e.value, runFields)
	list := runs{
		ago: o.duration("ago", 0, maxAgo), every: o.duration("every", time.Second, maxAgo),
		times: max(1, o.count("times", 1, maxRows)), uuid: o.uuid("uuid"), input: o.data("input"),
	}
	if o.has("ago") == o.has("at") {
		r.fault(e.place, `a run needs either "ago" or "at"`)
	}
	if text := o.text("at"); text != "" {
		var err error
		if list.at, err = time.Parse(time.RFC3339, text); err != nil || list.at.Year() < 1970 || list.at.Year() > 2100 {
			r.fault(o.at("at"), `expected a time such as "2024-01-31T02:00:00Z"; found %q`, text)
		}
	} else if o.has("at") {
		r.fault(o.at("at"), `expected a time such as "2024-01-31T02:00:00Z"`)
	}
	if o.has("every") != o.has("times") {
		r.fault(e.place, `"every" and "times" need each other`)
	}
	if list.uuid != "" && list.times > 1 {
		r.fault(o.at("uuid"), "%d runs cannot have one UUID", list.times)
	}
	if time.Duration(list.times) > maxAgo/max(list.every, 1) {
		r.fault(o.at("times"), "%d runs at intervals of %s last for too long", list.times, list.every)
		list.times = 1
	}
	list.tasks = slices.Clone(p.Tasks)
	for _, e := range o.list("tasks") {
		o := r.object(e.place, e.value, runTaskFields)
		if !o.has("task") {
			r.fault(e.place, `the field "task" is missing: the name or UUID of a task`)
			continue
		}
		i := r.taskOf(p, element{o.at("task"), o.fields["task"]})
		duration, output, failures := o.duration("duration", 0, maxDuration), o.data("output"), o.errors()
		if i < 0 {
			continue
		}
		if o.has("duration") {
			list.tasks[i].Duration = duration
		}
		if o.has("output") {
			list.tasks[i].Output = output
		}
		if o.has("errors") {
			list.tasks[i].Errors = failures
		}
	}
	return list
}

// checkSize refuses a scenario with more rows than a sandbox should hold.
func (r *reader) checkSize(s Scenario) {
	total := 0
	for i, p := range s.Pipelines {
		rows := rowsOf(p.Tasks)
		if total += rows; total > maxRows {
			r.fault(fmt.Sprintf("pipelines[%d]", i), "the runs of this scenario have more than %d rows", maxRows)
			return
		}
		for _, list := range p.runs {
			if rows > 0 && list.times > (maxRows-total)/rows {
				r.fault(fmt.Sprintf("pipelines[%d].runs", i), "the runs of this scenario have more than %d rows", maxRows)
				return
			}
			total += rows * list.times
		}
	}
}

// rowsOf is how many rows a run of the tasks has at most: each task once for each combination of the items of the
// for-each tasks before it. It stops counting above maxRows.
func rowsOf(tasks []ylemtest.Task) (rows int) {
	loops := map[string]map[string]int{} // by task, the items of each for-each before it
	for len(loops) < len(tasks) {
		for _, t := range tasks {
			if loops[t.UUID] != nil || slices.ContainsFunc(t.After, func(uuid string) bool { return loops[uuid] == nil }) {
				continue
			}
			inside, passes := map[string]int{}, 1
			for _, earlier := range tasks {
				if !slices.Contains(t.After, earlier.UUID) {
					continue
				}
				for loop, items := range loops[earlier.UUID] {
					inside[loop] = items
				}
				if earlier.Type == "for_each" {
					inside[earlier.UUID] = earlier.Items
				}
			}
			for _, items := range inside {
				passes = min(passes*items, maxRows+1)
			}
			loops[t.UUID] = inside
			rows = min(rows+passes, maxRows+1)
		}
	}
	return rows
}
