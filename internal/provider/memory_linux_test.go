package provider

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A log is read as a stream: of 200 MB, only the rows that pass the filters are held.
func TestAccLargeLogIsReadAsAStream(t *testing.T) {
	t.Parallel()
	const rows, output, limit = 20_000, 10 << 10, 80 << 20
	base64 := strings.Repeat("A", output)
	row := func(i int) string {
		return fmt.Sprintf(`{"pipeline_run_uuid":"e0000001-0000-4000-8000-%012d","task_uuid":"30000000-0000-4000-8000-0000000000aa","task_type":"query",`+
			`"is_successful":%t,"duration":1,"output":"%s","metric_value":0,"executed_at":"2024-01-10T10:00:00Z"}`, i/10, i%(rows/10) != 0, base64)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/token") {
			_, _ = io.WriteString(w, `{"access_token":"TOKEN","expires_in":86400}`)
			return
		}
		buffered := bufio.NewWriterSize(w, 1<<20)
		_, _ = buffered.WriteString("[" + row(0))
		for i := range rows - 1 {
			_, _ = buffered.WriteString("," + row(i+1))
		}
		_, _ = buffered.WriteString("]")
		_ = buffered.Flush()
	}))
	t.Cleanup(server.Close)
	tf := newTerraform(t, fmt.Sprintf(`
provider "ylem" {
  api_url         = %q
  client_id       = "id"
  client_secret   = "secret"
  request_timeout = "10m"
}
data "ylem_pipeline_logs" "test" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  from          = "2024-01-01"
  is_successful = false
}
output "rows" {
  value = length(data.ylem_pipeline_logs.test.logs)
}
`, server.URL))
	provider := tf.attach(t, builtProvider(t))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	var got int
	if err := json.Unmarshal([]byte(tf.mustRun(t, 0, "output", "-json", "rows")), &got); err != nil || got != 10 {
		t.Errorf("%d rows are kept, %v", got, err)
	}
	if peak, err := provider.PeakMemory(); err != nil || peak > limit {
		t.Errorf("the provider needed %d MB of memory for a log of %d MB, want at most %d, %v", peak>>20, rows*output>>20, limit>>20, err)
	}
}
