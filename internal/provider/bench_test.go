package provider

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
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
	client, err := ylem.New(request.Config{BaseURL: server.URL, ClientID: "id", ClientSecret: "secret"})
	if err != nil {
		b.Fatal(err)
	}

	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	before, peak := memory.HeapAlloc, uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		c := newLogCollector(pipelineLogsModel{IsSuccessful: types.BoolValue(false)})
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
		if kept := len(c.logs()); kept != rows/every {
			b.Fatalf("kept %d rows", kept)
		}
	}
	b.ReportMetric(float64(peak-min(before, peak))/(1<<20), "heap-MB")
}
