package ylem_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

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

func FuzzRedact(f *testing.F) {
	for _, s := range []string{"hunter2", `+ / & = % space é`, "a\nb\tc d", `{"a":"b&c<secret>"}`, `\\\"\"`, "😀😀", "%41%42", "\u2028\u2029x", "aaaa"} {
		f.Add(s, "before ", " after")
	}
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		line := strings.Join(strings.Fields(secret), " ")
		// Texts are UTF-8. What stands in place of a secret must not look like one.
		const mark = "(hidden)"
		if len(line) < 4 || !utf8.ValidString(secret) || strings.ContainsAny(secret, "()") || strings.Contains(mark, line) {
			t.Skip()
		}
		plain, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		quoted := string(plain[1 : len(plain)-1])
		for _, form := range []string{secret, line, quoted, url.QueryEscape(secret), url.PathEscape(secret)} {
			if got := ylem.Redact(before+form+after, secret); strings.Contains(got, line) || !strings.Contains(got, mark) {
				t.Errorf("%q is seen in %q", secret, got)
			}
		}
	})
}
