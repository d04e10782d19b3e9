// Command bench measures the provider at scale: it drives terraform as a user does, against a Ylem in memory that
// speaks TLS and takes 20 ms for every answer, and compares it with what Terraform itself needs for resources of its own
// in the same number, or for those of an empty provider. It prints one table.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// latency is what the sandbox adds to every answer: a round trip to another continent's data center is longer, one in
// the same building shorter.
const latency = 20 * time.Millisecond

// The defaults of Terraform and of the provider.
const (
	parallelism       = 10
	maxConcurrentRuns = 4
)

func main() {
	repeat := flag.Int("repeat", 3, "number of measurements, in turns, of which the best counts: other programs only make them longer")
	only := flag.String("only", "", "measure only the cases whose name holds this text")
	binary := flag.String("provider", "", "measure this binary instead of building one from the checkout, to compare")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := bench(ctx, *repeat, *only, *binary)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s\n", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, repeat int, only, binary string) error {
	dir, err := os.MkdirTemp("", "ylem-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	m, err := newMachine(ctx, dir, binary)
	if err != nil {
		return err
	}
	start, err := m.start(ctx, 10*repeat)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d CPUs, %s, %s. The provider is ready %d ms after its start; its stripped binary has %.1f MB.\n",
		processor(), runtime.NumCPU(), runtime.Version(), m.version, start.Milliseconds(), float64(m.size)/1e6)
	fmt.Printf("Best of %d, in turns. Every answer takes %s, over TLS. The baseline is the same command for the same number of terraform_data;\n"+
		"of finished runs, with an empty provider.\n\n", repeat, latency)

	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintf(table, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	row("case", "time", "baseline", "ratio", "demanded", "holds", "requests", "connections", "tokens", "provider: peak memory", "processor time")
	row("---", "---", "---", "---", "---", "---", "---", "---", "---", "---", "---")
	for _, c := range cases() {
		if !strings.Contains(c.name, only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", c.name)
		r, err := m.measure(ctx, c, repeat)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		demanded, holds := c.demand(r)
		row(c.name, seconds(r.wall), seconds(r.baseline), fmt.Sprintf("%.2f", r.wall.Seconds()/r.baseline.Seconds()), demanded, holds,
			fmt.Sprint(r.requests), fmt.Sprint(r.connections), fmt.Sprint(r.tokens), megabytes(r.memory), seconds(r.cpu))
	}
	return table.Flush()
}

// testCase is one line of the table.
type testCase struct {
	name    string
	command string // apply, or plan
	applied bool   // plan what has been applied before, and compare with the empty provider
	config  string // without the provider block
	alone   int    // number of terraform_data to compare with
	world   func(*ylemtest.Server)
	options []ylemtest.Option
	demand  func(result) (demanded, holds string)
}

const (
	pipelineUUID = "10000000-0000-4000-8000-00000000000a"
	taskUUID     = "30000000-0000-4000-8000-0000000000aa"
)

func cases() []testCase {
	var list []testCase
	for _, n := range []int{1, 100, 1000} {
		list = append(list, testCase{name: fmt.Sprintf("plan %d stats", n), command: "plan", config: stats(n), alone: n, demand: forStats(n)})
	}
	return append(
		list,
		testCase{
			name: "plan 1000 stats, HTTP/2", command: "plan", config: stats(1000), alone: 1000, demand: forStats(1000),
			options: []ylemtest.Option{ylemtest.WithHTTP2()},
		},
		testCase{
			name: "plan 1000 stats, all the same", command: "plan", alone: 1000, demand: noDemand,
			config: fmt.Sprintf("data \"ylem_pipeline_stats\" \"test\" {\n  count = 1000\n  pipeline_uuid = %q\n  from = \"2024-01-01\"\n  to = \"2024-02-01\"\n}\n", pipelineUUID),
		},
		testCase{
			name: "apply 100 runs", command: "apply", config: runs(100, ""), alone: 100, world: pipeline,
			demand: func(r result) (string, string) {
				ideal := r.baseline + 100/maxConcurrentRuns*latency
				return fmt.Sprintf("%d at a time: 1.5 × %s", maxConcurrentRuns, seconds(ideal)), verdict(r.wall <= ideal*3/2 && r.requests == 101)
			},
		},
		testCase{
			name: "plan 200 finished runs", command: "plan", applied: true, config: runs(200, wait), world: pipeline,
			demand: func(r result) (string, string) {
				return "0 requests, 1.6 × baseline", verdict(r.requests == 0 && r.wall <= r.baseline*16/10)
			},
		},
		testCase{
			name: "plan log, 2000 of 100000 rows", command: "plan", config: logs("is_successful = false"), alone: 1, world: log(100_000),
			demand: forFilteredLog(64),
		},
		testCase{
			name: "plan log, 2000 of 100000 rows, HTTP/2", command: "plan", config: logs("is_successful = false"), alone: 1, world: log(100_000),
			options: []ylemtest.Option{ylemtest.WithHTTP2()}, demand: forFilteredLog(80),
		},
		testCase{
			name: "plan log, limit 100 of 100000 rows", command: "plan", config: logs("limit = 100"), alone: 1, world: log(100_000),
			demand: func(r result) (string, string) {
				return fmt.Sprintf("a quarter of the body (%d of %d MB)", r.sent>>20, r.size>>20), verdict(r.sent <= r.size/4)
			},
		},
		testCase{name: "plan log, all 10000 rows", command: "plan", config: logs(""), alone: 1, world: log(10_000), demand: noDemand},
	)
}

// forFilteredLog is what reading a log may cost of which the filters drop nearly all: memory in MB.
func forFilteredLog(memory int64) func(result) (string, string) {
	return func(r result) (string, string) {
		return fmt.Sprintf("body (%s) + 1.5 s, %d MB", seconds(r.body), memory),
			verdict(r.wall <= r.baseline+r.body+1500*time.Millisecond && r.memory <= memory<<20)
	}
}

// forStats is what n data sources may cost: Terraform's own time, and n requests of which ten are under way at once.
func forStats(n int) func(result) (string, string) {
	return func(r result) (string, string) {
		if n < 1000 {
			return noDemand(r)
		}
		ideal := r.baseline + time.Duration(n/parallelism)*latency
		connections := parallelism
		if r.http2 {
			connections = 1
		}
		return fmt.Sprintf("1.25 × %s (is %.2f ×)", seconds(ideal), r.wall.Seconds()/ideal.Seconds()),
			verdict(r.wall <= ideal*125/100 && r.tokens == 1 && r.connections <= connections && r.requests == n+1)
	}
}

func noDemand(result) (string, string) { return "", "" }

func verdict(holds bool) string {
	if holds {
		return "yes"
	}
	return "NO"
}

func stats(n int) string {
	return fmt.Sprintf("data \"ylem_pipeline_stats\" \"test\" {\n  count         = %d\n  pipeline_uuid = format(\"10000000-0000-4000-8000-%%012d\", count.index)\n"+
		"  from          = \"2024-01-01\"\n  to            = \"2024-02-01\"\n}\n", n)
}

func runs(n int, more string) string {
	return fmt.Sprintf("resource \"ylem_pipeline_run\" \"test\" {\n  count = %d\n  pipeline_uuid = %q\n  %s\n}\n", n, pipelineUUID, more)
}

const wait = "wait_for_completion = true\n  completion = { final_task_uuids = [\"" + taskUUID + "\"], poll_interval = \"1s\" }"

func logs(filter string) string {
	return fmt.Sprintf("data \"ylem_pipeline_logs\" \"test\" {\n  pipeline_uuid = %q\n  from = \"2024-01-01\"\n  %s\n}\n", pipelineUUID, filter)
}

func pipeline(s *ylemtest.Server) {
	s.AddPipeline(ylemtest.Pipeline{UUID: pipelineUUID, Tasks: []ylemtest.Task{{UUID: taskUUID}}})
}

// log is the log of n tasks, ten in each run. One task in fifty failed.
func log(n int) func(*ylemtest.Server) {
	return func(s *ylemtest.Server) {
		rows := make([]ylemtest.Row, n)
		first := time.Date(2024, time.January, 10, 10, 0, 0, 123_456_000, time.UTC)
		for i := range rows {
			rows[i] = ylemtest.Row{
				PipelineUUID:    pipelineUUID,
				PipelineRunUUID: fmt.Sprintf("e0000000-0000-4000-8000-%012d", i/10),
				TaskUUID:        taskUUID,
				IsSuccessful:    i%50 != 0,
				Duration:        120,
				Output:          []byte(strings.Repeat(`{"id":7,"amount":299.76}`, 7)),
				ExecutedAt:      first.Add(time.Duration(i) * time.Second),
			}
		}
		s.AddRows(rows...)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func megabytes(n int64) string {
	if n == 0 {
		return "?"
	}
	return fmt.Sprintf("%.0f MB", float64(n)/(1<<20))
}
