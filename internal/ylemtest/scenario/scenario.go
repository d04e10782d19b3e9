// Package scenario reads the pipelines and past runs of a sandbox from JSON. [Format] describes it.
package scenario

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// Format describes a scenario by an example that has every field.
const Format = `{"pipelines": [{
  "uuid": "0d7b4f1e-3c52-4a96-8e01-5b9f6c2d7a48",   // required
  "name": "nightly import",                         // for people
  "paused": false,                                  // true: a run is refused with 403
  "template": false,                                // true: a run is refused with 404
  "tasks": [                                        // default: one query of 20 ms
    {"name": "start", "type": "external_trigger"},  // outputs the input; "output" replaces the input {}
    {
      "uuid": "1f6e2a90-7b34-4c58-9d12-e80c5a3f6b71", // default: made from the UUID of the pipeline, the same each time
      "name": "fetch",                              // for "after" and for people
      "type": "query",                              // the default; or api_call, code, notification, ...
      "duration": "90s",                            // default: "0s"
      "after": ["start"],                           // names or UUIDs of tasks that must have succeeded
      "output": [{"orders": 128}]                   // any JSON; a string is taken as text
    },
    {"name": "each order", "type": "for_each", "after": ["fetch"], "items": 3}, // each later task runs 3 times
    {
      "name": "send", "type": "api_call", "after": ["each order"],
      "errors": [                                   // the task fails
        "connection refused",                       // the same as {"message": "connection refused"}
        {"code": 10000, "severity": "error", "message": "gave up"}
      ],
      "fail_on_pass": 2                             // but only the second time, after a for_each
    },
    {"type": "aggregator", "after": ["fetch"], "metric": 0.5}, // a value, no output
    {"type": "merge", "after": ["fetch"], "unending": true},   // starts, and never reports
    {"type": "query", "inactive": true}                        // never starts
  ],
  "runs": [                                         // past ones, also those that are still going on
    {"ago": "30s"},                                 // before the sandbox was started
    {"ago": "167h", "every": "24h", "times": 7},    // seven runs, the last one 23 hours ago
    {
      "at": "2024-01-31T02:00:00Z",                 // instead of "ago"
      "uuid": "4e1d9c07-a6f2-4b83-8f50-27b3c9e6d1a4", // default: random
      "input": {"day": "2024-01-31"},
      "tasks": [                                    // what was different in this run
        {"task": "fetch", "duration": "2m", "output": "none", "errors": []}
      ]
    }
  ]
}]}
`

// Scenario is what a sandbox begins with.
type Scenario struct {
	Pipelines []Pipeline
}

// Pipeline is a pipeline and its past.
type Pipeline struct {
	ylemtest.Pipeline
	Name  string
	names []string // of the tasks; "" = none
	runs  []runs
}

// runs is a past run, or several at regular intervals.
type runs struct {
	ago   time.Duration
	at    time.Time // zero = ago counts
	every time.Duration
	times int
	uuid  string
	input []byte
	tasks []ylemtest.Task
}

//go:embed builtin.json
var builtIn []byte

// BuiltIn is the scenario of a sandbox that is given none: the pipelines that
// the examples of this repository name, and some to try failures, timeouts
// and the like on.
func BuiltIn() Scenario {
	s, err := Parse(builtIn)
	if err != nil {
		panic("scenario: built-in: " + err.Error())
	}
	return s
}

// BuiltInJSON is the text of BuiltIn, to begin one's own scenario with.
func BuiltInJSON() []byte { return slices.Clone(builtIn) }

// AddTo adds the pipelines and their past runs to a sandbox. now is the time on its clock.
func (s Scenario) AddTo(server *ylemtest.Server, now time.Time) {
	for _, p := range s.Pipelines {
		server.AddPipeline(p.Pipeline)
		for _, r := range p.runs {
			for _, start := range r.starts(now) {
				server.AddRunOf(ylemtest.Run{UUID: r.uuid, PipelineUUID: p.UUID, StartedAt: start, Input: r.input, Tasks: r.tasks})
			}
		}
	}
}

// starts is when the runs start.
func (r runs) starts(now time.Time) (list []time.Time) {
	first := r.at
	if first.IsZero() {
		first = now.Add(-r.ago)
	}
	for i := range r.times {
		list = append(list, first.Add(time.Duration(i)*r.every))
	}
	return list
}

// TaskName is the name of a task of the pipeline, or else its type.
func (p Pipeline) TaskName(i int) string {
	if p.names[i] != "" {
		return p.names[i]
	}
	return p.Tasks[i].Type
}

// derivedUUID is the UUID of a task that has none, equal each time.
func derivedUUID(pipeline string, task int) string {
	b := sha256.Sum256(fmt.Appendf(nil, "%s/%d", pipeline, task))
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
