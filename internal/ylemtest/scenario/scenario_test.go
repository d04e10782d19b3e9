package scenario

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// What is wrong is named with its place, and all of it at once.
func TestFaults(t *testing.T) {
	t.Parallel()
	const uuid = `"uuid": "0d7b4f1e-3c52-4a96-8e01-5b9f6c2d7a48"`
	pipeline := func(fields string) string { return `{"pipelines": [{` + uuid + `, ` + fields + `}]}` }
	task := func(fields string) string { return pipeline(`"tasks": [{` + fields + `}]`) }
	run := func(fields string) string { return pipeline(`"runs": [{` + fields + `}]`) }
	for text, want := range map[string]string{
		``:                               `line 1: not valid JSON: the text is empty; {} is a scenario without pipelines`,
		"{\n\"pipelines\": [\n}":         `line 3: not valid JSON: invalid character '}'`,
		`{"pipelines": []} x`:            `line 1: not valid JSON: unexpected text after the JSON value`,
		`[]`:                             `expected an object with the fields pipelines; found a list`,
		`{"pipeline": []}`:               `unknown field "pipeline"; accepted are pipelines`,
		`{"Pipelines": []}`:              `unknown field "Pipelines"; accepted are pipelines`,
		`{"pipelines": {}}`:              `pipelines: expected a list; found an object`,
		`{"pipelines": ["x"]}`:           `pipelines[0]: expected an object with the fields uuid, name, paused, template, tasks, runs; found the text "x"`,
		`{"pipelines": [{}]}`:            `pipelines[0]: the field "uuid" is missing, such as "uuid": "`,
		`{"pipelines": [{"uuid": "x"}]}`: `pipelines[0].uuid: expected a UUID of version 4 in lower case, such as "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"; found "x"`,
		`{"pipelines": [{"uuid": ""}]}`:  `pipelines[0].uuid: expected a UUID`,
		`{"pipelines": [{` + uuid + `}, {` + uuid + `}]}`: `pipelines[1].uuid: 0d7b4f1e-3c52-4a96-8e01-5b9f6c2d7a48 is already pipelines[0].uuid`,

		pipeline(`"title": "x"`):                             `pipelines[0]: unknown field "title"; accepted are uuid, name, paused, template, tasks, runs`,
		pipeline(`"name": 1`):                                `pipelines[0].name: expected a text; found the number 1`,
		pipeline(`"name": "a", "name": "b"`):                 `pipelines[0]: the field "name" is there twice`,
		pipeline(`"paused": "yes"`):                          `pipelines[0].paused: expected true or false; found the text "yes"`,
		task(`"durations": "1s"`):                            `pipelines[0].tasks[0]: unknown field "durations"; accepted are uuid, name, type, duration, after, output, errors, items,`,
		task(`"duration": 5`):                                `pipelines[0].tasks[0].duration: expected a duration such as "90s" or "36h"; found the number 5`,
		task(`"duration": "1d"`):                             `found "1d"`,
		task(`"duration": "-1s"`):                            `pipelines[0].tasks[0].duration: expected a duration from 0s to 8784h0m0s; found "-1s"`,
		task(`"after": ["x"]`):                               `pipelines[0].tasks[0].after[0]: the pipeline has no task "x"; it has `,
		task(`"after": "x"`):                                 `pipelines[0].tasks[0].after: expected a list; found the text "x"`,
		task(`"after": [1]`):                                 `pipelines[0].tasks[0].after[0]: expected the name or UUID of a task; found the number 1`,
		task(`"name": "a", "after": ["a"]`):                  `pipelines[0].tasks[0].after: the tasks wait for each other`,
		task(`"name": "a"}, {"name": "a"`):                   `pipelines[0].tasks[1]: another task of the pipeline has the name "a"`,
		task(uuid):                                           `pipelines[0].tasks[0].uuid: 0d7b4f1e-3c52-4a96-8e01-5b9f6c2d7a48 is already pipelines[0].uuid`,
		task(`"items": 3`):                                   `pipelines[0].tasks[0]: a task of the type "for_each" needs the field "items", and no other may have it`,
		task(`"type": "for_each"`):                           `pipelines[0].tasks[0]: a task of the type "for_each" needs the field "items"`,
		task(`"type": "for_each", "items": 1001`):            `pipelines[0].tasks[0].items: expected a whole number from 0 to 1000; found 1001`,
		task(`"type": "for_each", "items": 1.5`):             `pipelines[0].tasks[0].items: expected a whole number from 0 to 1000; found the number 1.5`,
		task(`"fail_on_pass": 2`):                            `pipelines[0].tasks[0].fail_on_pass: it needs "errors"`,
		task(`"errors": "x"`):                                `pipelines[0].tasks[0].errors: expected a list; found the text "x"`,
		task(`"errors": [true]`):                             `pipelines[0].tasks[0].errors[0]: expected an object with the fields code, severity, message; found true`,
		task(`"errors": [{"text": "x"}]`):                    `pipelines[0].tasks[0].errors[0]: unknown field "text"; accepted are code, severity, message`,
		run(`"days": 1`):                                     `pipelines[0].runs[0]: unknown field "days"; accepted are ago, at, every, times, uuid, input, tasks`,
		run(``):                                              `pipelines[0].runs[0]: a run needs either "ago" or "at"`,
		run(`"ago": "1h", "at": "2024-01-31T02:00:00Z"`):     `pipelines[0].runs[0]: a run needs either "ago" or "at"`,
		run(`"at": "2024-01-31"`):                            `pipelines[0].runs[0].at: expected a time such as "2024-01-31T02:00:00Z"; found "2024-01-31"`,
		run(`"ago": "1h", "times": 2`):                       `pipelines[0].runs[0]: "every" and "times" need each other`,
		run(`"ago": "1h", "every": "0s", "times": 2`):        `pipelines[0].runs[0].every: expected a duration from 1s`,
		run(`"ago": "1h", "every": "400000h", "times": 200`): `pipelines[0].runs[0].times: 200 runs at intervals of 400000h0m0s last for too long`,
		run(`"ago": "1h", "every": "1s", "times": 50000`):    `pipelines[0].runs: the runs of this scenario have more than 50000 rows`,
		run(`"ago": "1h", "every": "1h", "times": 2, "uuid": "` + some + `"`): `pipelines[0].runs[0].uuid: 2 runs cannot have one UUID`,
		run(`"ago": "1h", "tasks": [{"task": "x"}]`):                          `pipelines[0].runs[0].tasks[0].task: the pipeline has no task "x"`,
		run(`"ago": "1h", "tasks": [{"name": "x"}]`):                          `unknown field "name"; accepted are task, duration, output, errors`,

		// Three for-each tasks in a row: a thousand million passes.
		task(`"name": "a", "type": "for_each", "items": 1000}, {"name": "b", "type": "for_each", "items": 1000, "after": ["a"]},
			{"type": "for_each", "items": 1000, "after": ["b"]`): `pipelines[0]: the runs of this scenario have more than 50000 rows`,
		pipeline(`"tasks": [{}` + strings.Repeat(",{}", 200) + `]`): `pipelines[0].tasks: 201 tasks are more than 200`,
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s\n  error %v\n  want  %s", text, err, want)
		}
	}
	_, err := Parse([]byte(`{"x": 1, "pipelines": [{"y": 1}, {"uuid": 7}]}`))
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not each fault has its line: %v", err)
	}
}

const some = "4e1d9c07-a6f2-4b83-8f50-27b3c9e6d1a4"

func TestEmpty(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, " \n{ }\n", "\ufeff{}", `{"pipelines": []}`, `{"pipelines": null}`} {
		if s, err := Parse([]byte(text)); err != nil || len(s.Pipelines) != 0 {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

var comment = regexp.MustCompile(`(?m) *// .*$`)

// Format is a scenario but for its comments, and has every field.
func TestFormat(t *testing.T) {
	t.Parallel()
	s, err := Parse([]byte(comment.ReplaceAllString(Format, "")))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range slices.Concat(scenarioFields, pipelineFields, taskFields, errorFields, runFields, runTaskFields) {
		if !strings.Contains(Format, strconv.Quote(field)+":") {
			t.Errorf("%q is not in it", field)
		}
	}
	server := ylemtest.NewServer()
	defer server.Close()
	s.AddTo(server, time.Now())

	rows := server.Rows(some)
	if len(rows) == 0 || string(rows[0].Output) != `{"day":"2024-01-31"}` || !rows[0].ExecutedAt.Equal(time.Date(2024, 1, 31, 2, 0, 0, 0, time.UTC)) {
		t.Fatalf("the external trigger reports %+v", rows)
	}
	byTask := map[string][]ylemtest.Row{}
	for _, row := range rows {
		byTask[row.TaskType] = append(byTask[row.TaskType], row)
	}
	fetch := byTask["query"]
	if len(fetch) != 1 || fetch[0].Duration != 120_000 || string(fetch[0].Output) != "none" || fetch[0].TaskUUID != "1f6e2a90-7b34-4c58-9d12-e80c5a3f6b71" {
		t.Errorf("fetch reports %+v", fetch)
	}
	if sent := byTask["api_call"]; len(sent) != 3 || !sent[0].IsSuccessful || sent[1].IsSuccessful || !sent[2].IsSuccessful ||
		string(sent[1].Output) != `[{"Code":200,"Severity":"error","Message":"connection refused"},{"Code":10000,"Severity":"error","Message":"gave up"}]` {
		t.Errorf("after the for-each: %+v", sent)
	}
	if metric := byTask["aggregator"]; len(metric) != 1 || metric[0].MetricValue != 0.5 || byTask["merge"] != nil {
		t.Errorf("the metric is %+v, the merge %+v", metric, byTask["merge"])
	}
	if p := s.Pipelines[0]; p.Name != "nightly import" || p.TaskName(1) != "fetch" || p.TaskName(4) != "aggregator" {
		t.Errorf("%+v", p)
	}
}

// Runs repeat towards the future, relative to the start of the sandbox.
func TestRuns(t *testing.T) {
	t.Parallel()
	s, err := Parse([]byte(`{"pipelines": [{"uuid": "` + some + `", "runs": [
		{"ago": "3h", "every": "1h", "times": 3}, {"ago": "1m", "tasks": [{"task": "` + derivedUUID(some, 0) + `", "duration": "1h"}]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	if r := s.Pipelines[0].runs; len(r) != 2 || !slices.Equal(r[0].starts(now), []time.Time{now.Add(-3 * time.Hour), now.Add(-2 * time.Hour), now.Add(-time.Hour)}) {
		t.Errorf("%+v", r)
	}
	if task := s.Pipelines[0].Tasks[0]; task.Duration != 20*time.Millisecond || task.Type != "query" || s.Pipelines[0].runs[1].tasks[0].Duration != time.Hour {
		t.Errorf("an override changes the pipeline: %+v", task)
	}
}

// The same file gives the same UUIDs each time, so that a state outlives the sandbox.
func TestDerivedUUIDs(t *testing.T) {
	t.Parallel()
	text := []byte(`{"pipelines": [{"uuid": "` + some + `", "tasks": [{}, {}]}]}`)
	one, _ := Parse(text)
	two, _ := Parse(text)
	a, b := one.Pipelines[0].Tasks, two.Pipelines[0].Tasks
	if a[0].UUID != b[0].UUID || a[0].UUID == a[1].UUID || !uuidForm.MatchString(a[0].UUID) {
		t.Errorf("%+v, %+v", a, b)
	}
}

// The built-in scenario has each kind of pipeline that a configuration may have to cope with.
func TestBuiltIn(t *testing.T) {
	t.Parallel()
	s := BuiltIn()
	server := ylemtest.NewServer()
	defer server.Close()
	s.AddTo(server, time.Now())
	found := map[string]bool{}
	for _, p := range s.Pipelines {
		var whole time.Duration
		for _, task := range p.Tasks {
			whole += task.Duration
			found[task.Type] = true
			found["fails"] = found["fails"] || len(task.Errors) > 0
		}
		found["takes a minute"] = found["takes a minute"] || whole >= time.Minute
		found["never ran"] = found["never ran"] || len(p.runs) == 0 && !p.Template
		found["paused"], found["template"] = found["paused"] || p.Paused, found["template"] || p.Template
		if p.Name == "" {
			t.Errorf("%s has no name", p.UUID)
		}
	}
	for _, kind := range []string{"external_trigger", "for_each", "fails", "takes a minute", "never ran", "paused", "template"} {
		if !found[kind] {
			t.Errorf("no pipeline is there for %q", kind)
		}
	}
}

func TestExampleScenario(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../examples/sandbox/scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(text)
	if err != nil || len(s.Pipelines) != 2 || len(s.Pipelines[0].runs) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

// No text makes the parser panic or hang, and whatever it accepts can be served.
func FuzzParse(f *testing.F) {
	f.Add([]byte(comment.ReplaceAllString(Format, "")))
	f.Add(BuiltInJSON())
	f.Add([]byte(`{"pipelines": [{"uuid": "` + some + `", "tasks": [{"name": "a", "after": ["b"]}, {"name": "b", "after": ["a"]}]}]}`))
	f.Add([]byte(`{"pipelines": [{"uuid": "` + some + `", "runs": [{"ago": "1h", "every": "1h", "times": 3, "input": null}]}]}`))
	server := ylemtest.NewServer()
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without words")
			}
			return
		}
		s.AddTo(server, time.Now())
		for _, p := range s.Pipelines {
			if !uuidForm.MatchString(p.UUID) || len(p.names) != len(p.Tasks) {
				t.Errorf("%+v", p)
			}
		}
		server.RemoveRows(func(ylemtest.Row) bool { return true })
	})
}
