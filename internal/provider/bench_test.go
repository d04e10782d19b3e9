//go:build unix

package provider

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// BenchmarkPipelineLogs reads 100,000 rows and keeps the 2,000 that failed. heap-MB is the largest heap seen above
// what was there before, garbage included.
func BenchmarkPipelineLogs(b *testing.B) {
	const rows, every = 100_000, 50
	output := strings.Repeat("W3siYW1vdW50IjoyOTkuNzZ9XQ", 12)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"TOKEN","expires_in":86400}`)
			return
		}
		for i := range rows {
			separator := ","
			if i == 0 {
				separator = "["
			}
			_, _ = fmt.Fprintf(w, `%s{"pipeline_run_uuid":"e0000006-0000-4000-8000-%012d","task_uuid":"30000000-0000-4000-8000-0000000000aa",`+
				`"task_type":"query","is_successful":%t,"duration":120,"output":"%s","metric_value":0,"executed_at":"2024-06-05T08:00:00.123456Z"}`,
				separator, i/10, i%every != 0, output)
		}
		_, _ = io.WriteString(w, "]")
	}))
	defer server.Close()
	client, err := ylem.New(ylem.Config{BaseURL: server.URL, ClientID: "id", ClientSecret: "secret"})
	if err != nil {
		b.Fatal(err)
	}

	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	before, peak := memory.HeapAlloc, uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		c := logCollector{isSuccessful: types.BoolValue(false), includeOutput: true, runs: map[string]*runLog{}}
		seen := 0
		for row, err := range client.PipelineLogs(b.Context(), pipelineSubject.example, time.Unix(0, 0), time.Now()) {
			if err != nil {
				b.Fatal(err)
			}
			c.add(row)
			if seen++; seen%1000 == 0 {
				runtime.ReadMemStats(&memory)
				peak = max(peak, memory.HeapAlloc)
			}
		}
		if logs, _ := c.result(); len(logs) != rows/every {
			b.Fatalf("kept %d rows", len(logs))
		}
	}
	b.ReportMetric(float64(peak-min(before, peak))/(1<<20), "heap-MB")
}

// BenchmarkTerraform drives the real terraform: applies with data sources or runs, and beside them as many built-in
// resources, which is what Terraform itself costs. It tells the requests and connections that the sandbox saw, and the
// memory of the largest process.
func BenchmarkTerraform(b *testing.B) {
	for _, count := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("data_sources=%d", count), func(b *testing.B) {
			s := newSandbox(b)
			p := s.AddPipeline(ylemtest.Pipeline{}).UUID
			s.AddRun(p, time.Now().Add(-time.Hour))
			s.benchmark(b, s.config(fmt.Sprintf("data \"ylem_pipeline_last_run\" \"test\" {\n  count = %d\n  pipeline_uuid = %q\n}\n", count, p)))
		})
		b.Run(fmt.Sprintf("terraform_data=%d", count), func(b *testing.B) {
			newSandbox(b).benchmark(b, fmt.Sprintf("resource \"terraform_data\" \"test\" {\n  count = %d\n  input = count.index\n}\n", count))
		})
	}
	b.Run("runs=100", func(b *testing.B) {
		s := newSandbox(b)
		task := ylemtest.NewUUID()
		p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{UUID: task}}}).UUID
		s.benchmark(b, s.config(fmt.Sprintf("resource \"ylem_pipeline_run\" \"test\" {\n  count = 100\n  pipeline_uuid = %q\n  wait_for_completion = true\n"+
			"  completion = { final_task_uuids = [%q], poll_interval = \"1s\" }\n}\n", p, task)))
	})
}

// benchmark applies a configuration and then plans it again.
func (s *sandbox) benchmark(b *testing.B, config string) {
	for b.Loop() {
		b.StopTimer()
		tf := newTerraform(b, config)
		s.ResetRequests()
		connections := s.Connections()
		b.StartTimer()
		apply := tf.measure(b, "apply", "-auto-approve", "-parallelism=50")
		b.StopTimer()
		b.ReportMetric(float64(len(s.Requests())), "requests")
		b.ReportMetric(float64(s.Connections()-connections), "connections")
		b.ReportMetric(apply, "largest-process-MB")
		s.ResetRequests()
		started := time.Now()
		tf.measure(b, "plan", "-parallelism=50")
		b.ReportMetric(time.Since(started).Seconds(), "plan-s")
		b.ReportMetric(float64(len(s.Requests())), "plan-requests")
		b.StartTimer()
	}
}

// measure runs a terraform command that succeeds, and returns the memory in MB of the larger of terraform and the provider.
func (tf *terraform) measure(b *testing.B, arguments ...string) float64 {
	b.Helper()
	command := exec.CommandContext(b.Context(), terraformPath(), arguments...)
	command.Dir, command.Env, command.Stderr = tf.dir, tf.env, os.Stderr
	if err := command.Run(); err != nil {
		b.Fatal(err)
	}
	usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return float64(usage.Maxrss) / 1024 // kilobytes on Linux
}
