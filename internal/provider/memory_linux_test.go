package provider

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// attach starts the provider as a process of its own, which this terraform uses from now on. peak is the most memory that
// it has had, in bytes.
func (tf *terraform) attach(t *testing.T) (peak func() int64) {
	t.Helper()
	command, attach := startDebugged(t, filepath.Join(built.folder, "terraform-provider-ylem"))
	tf.env = append(tf.env, "TF_REATTACH_PROVIDERS="+attach)
	return func() int64 {
		// Not the rusage of the process: that begins with the memory of the one that started it.
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", command.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		var kilobytes int64
		_, most, _ := strings.Cut(string(status), "VmHWM:")
		if _, err := fmt.Sscan(most, &kilobytes); err != nil {
			t.Fatal(err)
		}
		return kilobytes << 10
	}
}

// A log is read as a stream: of a gigabyte, only the rows that pass the filters are held.
func TestAccLogOfAGigabyte(t *testing.T) {
	t.Parallel()
	const rows, output = 100_000, 10 << 10
	row := func(i int) string {
		return fmt.Sprintf(`{"pipeline_run_uuid":"e0000001-0000-4000-8000-%012d","task_uuid":"30000000-0000-4000-8000-0000000000aa","task_type":"query",`+
			`"is_successful":%t,"duration":1,"output":"%s","metric_value":0,"executed_at":"2024-01-10T10:00:00Z"}`,
			i/10, i%(rows/10) != 0, strings.Repeat("A", output))
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
	peak := tf.attach(t)
	tf.mustRun(t, 0, "apply", "-auto-approve")
	var got int
	if err := json.Unmarshal([]byte(tf.mustRun(t, 0, "output", "-json", "rows")), &got); err != nil || got != 10 {
		t.Errorf("%d rows are kept, %v", got, err)
	}
	if bytes := peak(); bytes > 128<<20 {
		t.Errorf("the provider took %d MB of memory", bytes>>20)
	} else {
		t.Logf("the provider took %d MB of memory", bytes>>20)
	}
}
