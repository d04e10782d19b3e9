package provider

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// The provider writes only the log lines that are wanted. Terraform would drop the others, but only after the provider
// has written every step of the framework, and Terraform has parsed it. Here the provider is a process of its own, whose
// standard error passes no filter.
func TestOnlyWantedLogLinesAreWritten(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	levels := []string{"trace", "debug", "info", "warn", "error", "off"}
	for name, test := range map[string]struct {
		env       []string
		framework string // the lowest level of its lines
		ours      string
	}{
		"by default":              {nil, "off", "off"},
		"errors":                  {[]string{"TF_LOG=ERROR"}, "off", "off"}, // there is only a warning
		"warnings":                {[]string{"TF_LOG=warn"}, "warn", "off"},
		"debugging the providers": {[]string{"TF_LOG=ERROR", "TF_LOG_PROVIDER=DEBUG"}, "debug", "debug"},
		"debugging":               {[]string{"TF_LOG=DEBUG"}, "debug", "debug"},
		"everything":              {[]string{"TF_LOG=TRACE"}, "trace", "debug"},
		"everything as JSON":      {[]string{"TF_LOG=JSON"}, "trace", "debug"},
		"the framework alone":     {[]string{"TF_LOG_SDK=TRACE"}, "trace", "off"},
		"ours alone":              {[]string{"TF_LOG_PROVIDER_YLEM=DEBUG"}, "off", "debug"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			tf := terraformIn(t, "")
			tf.write(t, "main.tf", attachedRequirements+"data \"ylem_pipeline_last_run\" \"never\" {\n  pipeline_uuid = \"b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c\"\n}\n")
			provider := tf.attach(t, builtProvider(t), append(test.env, envURL+"="+s.URL, envClientID+"="+s.client.ID, envClientSecret+"="+s.client.Secret)...)
			tf.mustRun(t, 0, "plan")

			provider.Kill() // then all that it wrote has been read
			_, written := provider.Output()
			lowest := map[string]string{"sdk": "off", "ylem": "off"}
			for text := range strings.Lines(written) {
				var line struct {
					Level  string `json:"@level"`
					Module string `json:"@module"`
				}
				if err := json.Unmarshal([]byte(text), &line); err != nil {
					t.Fatalf("%s: %s", err, text)
				}
				// A line without a module is go-plugin's: there are three of them for each process.
				if module, _, _ := strings.Cut(line.Module, "."); module != "" && slices.Index(levels, line.Level) < slices.Index(levels, lowest[module]) {
					lowest[module] = line.Level
				}
			}
			if lowest["sdk"] != test.framework || lowest["ylem"] != test.ours {
				t.Errorf("the lowest levels are %v, want %s of the framework and %s of the provider:\n%.3000s", lowest, test.framework, test.ours, written)
			}
		})
	}
}
