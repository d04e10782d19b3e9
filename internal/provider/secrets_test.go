package provider

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// secrets are texts that may appear nowhere, by what they are.
type secrets map[string]string

// secretVariables are how a configuration gets secrets that Terraform keeps out of plans.
const secretVariables = `
variable "client_secret" {
  type      = string
  ephemeral = true
}
variable "header" {
  type      = string
  ephemeral = true
}
variable "key" {
  type      = string
  ephemeral = true
}
variable "input" {
  type      = string
  ephemeral = true
}
`

// forms are how a text could appear: as it is, in JSON, in a form or URL.
func forms(text string) []string {
	quoted, _ := json.Marshal(text)
	plain := strings.ReplaceAll(string(quoted), `\u0026`, "&")
	return []string{text, strings.Trim(string(quoted), `"`), strings.Trim(plain, `"`), url.QueryEscape(text), url.PathEscape(text)}
}

// expectAbsent fails the test where a secret appears in a text, and shows the line around it.
func (s secrets) expectAbsent(t *testing.T, where, text string) {
	t.Helper()
	for what, secret := range s {
		for _, form := range forms(secret) {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s shows the %s: …%.300s…", where, what, text[strings.LastIndex(text[:i], "\n")+1:])
				break
			}
		}
	}
}

// A whole life of a configuration, and its troubles, with everything logged that can be logged. Terraform's own log
// is searched as well as the provider's lines in it: all secrets come in ephemeral variables, which Terraform
// keeps out of plans. (A secret that is written into the configuration itself is in the plan file's copy of it,
// whatever a provider does; the provider's documentation advises the environment.)
func TestSecretsAppearNowhere(t *testing.T) {
	t.Parallel()
	authority := newKeyPair(t, nil)
	key := newKeyPair(t, authority)
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	s := newSandbox(t, ylemtest.WithTLS(pool))
	s.client = s.AddClient(ylemtest.Client{Secret: "+/&=% space é-client-secret"})
	arguments := s.ran()
	hidden := secrets{
		"client secret": s.client.Secret,
		"header":        "door-key-7f3a9c",
		"client key":    strings.Split(key.keyPEM, "\n")[1], // a line of its base64
		"write-only input": `{"password":"correct horse & battery"}
`,
	}

	tf := newTerraform(t, fmt.Sprintf(secretVariables+`
variable "input_version" {
  type = number
}
provider "ylem" {
  api_url         = %q
  client_id       = %q
  client_secret   = var.client_secret
  headers         = { X-Door = var.header }
  client_key_pem  = var.key
  client_cert_pem = file("client.pem")
  ca_cert_pem     = file("ca.pem")
  max_retries     = 0
}
resource "ylem_pipeline_run" "test" {
  pipeline_uuid    = %q
  input_wo         = var.input
  input_wo_version = var.input_version
}
data "ylem_pipeline_last_run" "test" {
  pipeline_uuid = %[3]q
}
data "ylem_pipeline_logs" "test" {
  pipeline_uuid = %[3]q
  lookback      = "1h"
}
`, s.URL, s.client.ID, arguments["pipeline_uuid"]),
		"TF_LOG=TRACE", "TF_LOG_PATH=trace.log",
		"TF_VAR_client_secret="+s.client.Secret, "TF_VAR_header="+hidden["header"], "TF_VAR_key="+key.keyPEM, "TF_VAR_input="+hidden["write-only input"])
	tf.write(t, "client.pem", key.certPEM)
	tf.write(t, "ca.pem", s.CertificatePEM())

	var shown strings.Builder
	run := func(want int, arguments ...string) {
		t.Helper()
		stdout, stderr, code := tf.run(t, arguments...)
		fmt.Fprintf(&shown, "$ terraform %s\n%s%s\n", strings.Join(arguments, " "), stdout, stderr)
		if code != want {
			t.Errorf("terraform %s: exit code %d, want %d\n%s%s", strings.Join(arguments, " "), code, want, stdout, stderr)
		}
	}
	run(0, "plan", "-no-color", "-out=planned", "-var=input_version=1")
	run(0, "show", "-json", "planned")
	run(0, "apply", "-no-color", "planned")
	run(0, "show", "-json")

	// Trouble after the run was sent, with an answer that repeats all that it was sent.
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteRun, Status: 500, Body: strings.Join([]string{
		"trouble", s.client.Secret, hidden["header"], hidden["write-only input"],
	}, "\n")})
	run(1, "apply", "-no-color", "-auto-approve", "-var=input_version=2")
	run(0, "apply", "-no-color", "-auto-approve", "-var=input_version=2")
	run(0, "destroy", "-no-color", "-auto-approve", "-var=input_version=2")

	if runs := s.Runs(""); len(runs) != 2 || string(runs[0].Input) != hidden["write-only input"] {
		t.Errorf("runs: %+v", runs)
	}
	for _, r := range s.Requests(ylemtest.RouteRun, ylemtest.RouteLastRun) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		hidden["access token "+token] = token
	}
	if len(hidden) < 7 {
		t.Errorf("only these were searched for: %v", hidden)
	}
	hidden.expectAbsent(t, "what Terraform printed", shown.String())

	hidden.expectAbsentInFiles(t, tf.dir)
	// The log is really there, and the provider's lines are in it: that of a run is what a killed provider leaves.
	log, err := os.ReadFile(filepath.Join(tf.dir, "trace.log"))
	if err != nil || !bytes.Contains(log, []byte("[TRACE]")) {
		t.Errorf("no log to search: %v", err)
	}
	for _, r := range s.Runs("") {
		if started := regexp.MustCompile(`\[INFO\] .*provider.*` + r.UUID); !started.Match(log) {
			t.Errorf("the log does not name run %s", r.UUID)
		}
	}
}

// A crash prints what every goroutine was at. SIGQUIT makes one of the Go runtime's own, in the middle of a request that
// carries every secret.
func TestSecretsAreInNoCrash(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.client = s.AddClient(ylemtest.Client{Secret: "crash-client-secret"})
	hidden := secrets{"client secret": s.client.Secret, "header": "crash-door-key", "input": "crash-input"}
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteRun, Stall: forever, After: true})
	tf := newTerraform(t, fmt.Sprintf(`
provider "ylem" {
  api_url   = %q
  client_id = %q
  headers   = { X-Door = var.header }
}
variable "header" {
  type      = string
  ephemeral = true
}
variable "input" {
  type      = string
  ephemeral = true
}
resource "ylem_pipeline_run" "test" {
  pipeline_uuid = %q
  input_wo      = var.input
}
`, s.URL, s.client.ID, s.AddPipeline(ylemtest.Pipeline{}).UUID),
		"TF_LOG=TRACE", "TF_LOG_PATH=trace.log", "YLEM_API_CLIENT_SECRET="+hidden["client secret"],
		"TF_VAR_header="+hidden["header"], "TF_VAR_input="+hidden["input"])
	b := tf.start(t, "apply", "-auto-approve", "-no-color")
	b.eventually(t, "the run is started", func() bool { return len(s.Runs("")) == 1 })
	b.signalProvider(t, syscall.SIGQUIT)
	code, output := b.wait(t)
	log, err := os.ReadFile(filepath.Join(tf.dir, "trace.log"))
	if code == 0 || err != nil || !bytes.Contains(log, []byte("SIGQUIT: quit")) || !bytes.Contains(log, []byte("RunPipeline(")) {
		t.Errorf("exit code %d, and no crash in the log (%v):\n%s", code, err, output)
	}
	for _, token := range s.Tokens() {
		hidden["token "+token] = token
	}
	hidden.expectAbsent(t, "what Terraform printed", output)
	hidden.expectAbsentInFiles(t, tf.dir)
}

// A proxy or a broken server may repeat in its answer what it was sent, in any form.
func TestAnswersThatEchoSecrets(t *testing.T) {
	t.Parallel()
	const input = `{"password":"correct \"horse\" & battery"}`
	hidden := secrets{"client secret": `s3cret+/&=% "é"`, "header": "door-key+7f3a9c==", "input": input}
	asJSONText := func(text string) string {
		quoted, _ := json.Marshal(text)
		return string(quoted)
	}
	for name, echo := range map[string]func(text string) string{
		"as it is":         func(text string) string { return text },
		"as a JSON string": func(text string) string { return `{"code":500,"message":` + asJSONText(text) + `}` },
		"as JSON errors":   func(text string) string { return `{"code":500,"errors":[` + asJSONText("body was "+text) + `]}` },
		"as an OAuth error": func(text string) string {
			return `{"error":"server_error","error_description":` + asJSONText(text) + `}`
		},
		"in a URL":  url.QueryEscape,
		"in a path": url.PathEscape,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.client = s.AddClient(ylemtest.Client{Secret: hidden["client secret"]})
			arguments := s.ran()
			for _, status := range []int{200, 302, 400, 500} {
				for _, stage := range []string{"token", "answer"} {
					found := secrets{}
					maps.Copy(found, hidden)
					e := newEcho(t, s, stage == "token", status, echo, found)
					p := s.connect(t, object{"api_url": e.URL, "headers": object{"X-Door": hidden["header"]}, "max_retries": 0})
					_, read := p.read(t, lastRun, arguments)
					_, create := p.create(t, arguments.with(object{"input_wo": input}))
					if !read.failed() || !create.failed() {
						t.Errorf("%s %d: no errors", stage, status)
					}
					if stage == "answer" && (found["access token"] == "" || found["refresh token"] == "") {
						t.Errorf("%d: no tokens were given out", status)
					}
					found.expectAbsent(t, fmt.Sprintf("%s %d", stage, status), read.String()+create.String())
				}
			}
		})
	}
}

// newEcho stands before a sandbox and answers with all that it was sent and gave out, either to the request for
// a token or to all others. It adds the tokens to what is searched for.
func newEcho(t *testing.T, s *sandbox, tokens bool, status int, echo func(string) string, found secrets) *httptest.Server {
	t.Helper()
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		said := []string{r.Header.Get("X-Door"), r.Header.Get("Authorization"), found["refresh token"]}
		if !strings.HasSuffix(r.URL.Path, "/oauth/token") {
			said = append(said, string(body))
		} else {
			form, err := url.ParseQuery(string(body))
			if err != nil {
				t.Error(err)
			}
			said = append(said, form.Get("client_secret"))
			if !tokens {
				resp, err := http.PostForm(s.URL+"/v1/oauth/token", form)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				var answer struct {
					AccessToken  string `json:"access_token"`
					RefreshToken string `json:"refresh_token"`
				}
				if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
					t.Error(err)
				}
				found["access token"], found["refresh token"] = answer.AccessToken, answer.RefreshToken
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(map[string]any{
					"access_token": answer.AccessToken, "refresh_token": answer.RefreshToken, "token_type": "Bearer", "expires_in": 3600,
				})
				return
			}
		}
		answer := echo(strings.Join(said, " "))
		w.Header().Set("Content-Type", "application/json")
		if status == http.StatusFound {
			w.Header().Set("Location", "https://login.example.com/?q="+answer)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server
}
