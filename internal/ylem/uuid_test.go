package ylem_test

import (
	"strings"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
)

func TestValidUUID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		fake.PipelineUUID: true, strings.ToUpper(fake.PipelineUUID): true, "00000000-0000-0000-0000-000000000000": true,
		"": false, fake.PipelineUUID + " ": false, strings.ReplaceAll(fake.PipelineUUID, "-", ""): false, "{" + fake.PipelineUUID + "}": false,
		strings.Replace(fake.PipelineUUID, "a", "g", 1): false, strings.Repeat("-", 36): false, strings.Repeat("0", 36): false,
		"10000000-0000-4000-8000-0000000000é": false,
	} {
		if got := ylem.ValidUUID(s); got != want {
			t.Errorf("%q: %t, want %t", s, got, want)
		}
	}
}
