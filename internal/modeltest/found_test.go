package modeltest

import (
	"strings"
	"testing"
)

// Histories that once violated an invariant, by what was wrong.
func TestFoundHistories(t *testing.T) {
	t.Parallel()
	s := newSchema(t)
	waits := config{Input: 2, Secret: true, Wait: true}
	later := waits
	later.Completion, later.Unknown = 3, 2
	for name, h := range map[string]history{
		"whether to wait for another final task is only known after apply": {
			Ylem:  ylem{Pipelines: [2]pipeline{{Tasks: 1, Slow: 2}}},
			Steps: []step{{Do: doConfigure, Config: waits}, {Do: doApply}, {Do: doConfigure, Config: later}, {Do: doApply}},
		},
	} {
		if bad, trace, _ := play(t, s, h); bad != nil {
			t.Errorf("%s: violates invariant %d: %s\n%s", name, bad.invariant, bad.what, strings.Join(trace, "\n"))
		}
	}
}
