package scenario

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Whoever tries an example on the sandbox finds there what it names: each pipeline and task, and final tasks that end
// the pipeline they are said to end.
func TestExamplesWorkInTheSandbox(t *testing.T) {
	var (
		uuid  = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
		waits = regexp.MustCompile(`(?s)^\s+= "([^"]+)".*final_task_uuids = \[(.*?)\]`)

		known []string
		final = map[string][]string{} // by pipeline, the tasks that no other comes after
		found int
	)
	for _, p := range BuiltIn().Pipelines {
		for _, r := range p.runs {
			known = append(known, r.uuid)
		}
		known = append(known, p.UUID)
		for _, task := range p.Tasks {
			known = append(known, task.UUID)
			final[p.UUID] = append(final[p.UUID], task.UUID)
		}
		for _, task := range p.Tasks {
			final[p.UUID] = slices.DeleteFunc(final[p.UUID], func(u string) bool { return slices.Contains(task.After, u) })
		}
	}
	err := filepath.WalkDir("../../../examples", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".tf", ".sh"}, filepath.Ext(path)) || entry.Name() == "environment.sh" || entry.Name() == "provider.tf" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, u := range uuid.FindAllString(string(text), -1) {
			if !slices.Contains(known, u) {
				t.Errorf("%s: the sandbox does not know %s", path, u)
			}
		}
		for _, block := range strings.Split(string(text), "pipeline_uuid") {
			match := waits.FindStringSubmatch(block)
			if match == nil {
				continue
			}
			found++
			named := uuid.FindAllString(match[2], -1)
			if want := final[match[1]]; len(named) == 0 || strings.Join(named, " ") != strings.Join(want, " ") {
				t.Errorf("%s: the final tasks of %s are %q, not %q", path, match[1], want, named)
			}
		}
		return err
	})
	if err != nil || found < 8 {
		t.Errorf("%d waits found: %v", found, err)
	}
}
