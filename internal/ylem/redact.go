package ylem

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// redact takes secrets out of what a server or a proxy may have echoed, also where it has escaped them, and makes
// one line of it. It works on texts that are not shortened yet: half a secret is one too.
func redact(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		quoted, _ := json.Marshal(secret) // strings always encode
		for _, form := range []string{secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret), withoutLineEnds.Replace(secret)} {
			if form = oneLine(form); len(form) >= 4 { // shorter ones would garble every text, and are no secrets
				forms = append(forms, form)
			}
		}
	}
	// One secret may hold another.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	text = oneLine(text)
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, "(hidden)")
	}
	return text
}

// oneLine makes texts comparable whose line ends were changed on the way, as they are in headers.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var withoutLineEnds = strings.NewReplacer("\r", "", "\n", "")

// redactedError is an error whose text held a secret or was too long; errors.Is and As still find what it is.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }
