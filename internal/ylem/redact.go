package ylem

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
)

// redact takes secrets out of what a server or a proxy may have echoed, also where it has escaped them, and makes
// one line of it. It works on texts that are not shortened yet: half a secret is one too.
func redact(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		for _, form := range append(jsonForms(secret), secret, url.QueryEscape(secret), url.PathEscape(secret), withoutLineEnds.Replace(secret)) {
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

// jsonForms are the ways in which JSON encoders write a text: with or without escapes for HTML, for slashes and for
// what is not ASCII.
func jsonForms(text string) (forms []string) {
	html, _ := json.Marshal(text) // strings always encode
	plain := htmlEscapes.Replace(string(html))
	for _, quoted := range []string{string(html), plain, strings.ReplaceAll(plain, "/", `\/`)} {
		quoted = strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`)
		var ascii strings.Builder
		for _, r := range quoted {
			if r < 0x80 {
				ascii.WriteRune(r)
			} else {
				for _, unit := range utf16.Encode([]rune{r}) {
					fmt.Fprintf(&ascii, `\u%04x`, unit)
				}
			}
		}
		forms = append(forms, quoted, ascii.String())
	}
	return forms
}

var htmlEscapes = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&")

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
