package ylem_test

import (
	"strings"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// Servers write JSON in other ways than Go does.
func TestSecretsAreFoundInForeignJSON(t *testing.T) {
	t.Parallel()
	for secret, echo := range map[string]string{
		"tést-secret":         `t\u00e9st-secret`,
		"a/b/secret":          `a\/b\/secret`,
		"é/secret":            `\u00e9\/secret`,
		"secret 😀":            `secret \ud83d\ude00`,
		`{"a":"b&c<secret>"}`: `{\"a\":\"b&c<secret>\"}`,
	} {
		client := newClient(t, newFake(t, answer(400, `{"detail":"`+echo+`"}`)), func(cfg *ylem.Config) { cfg.ClientSecret = secret })
		err := callLastRun(t.Context(), client)
		if text := err.Error(); !strings.Contains(text, "(hidden)") || strings.Contains(text, "secret") {
			t.Errorf("%q is seen in %s", secret, text)
		}
	}
}
