package request

import (
	"cmp"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"
)

// hidden stands in place of a secret.
const hidden = "(hidden)"

// minSecret is the length of the shortest secret that is looked for, in bytes: shorter ones would garble every text.
const minSecret = 4

// redact replaces the secrets in a text that a server or a proxy may have echoed: as they are, JSON-, URL- and
// HTML-encoded. The result is one line, because line ends change on the way, as in headers.
func redact(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		for _, form := range encodings(secret) {
			if form = oneLine(form); len(form) >= minSecret {
				forms = append(forms, form)
			}
		}
	}
	// One secret may be part of another: the longest goes first.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	text = oneLine(text)
	for _, form := range slices.Compact(forms) {
		text = strings.ReplaceAll(text, form, hidden)
	}
	return text
}

func encodings(secret string) []string {
	marshalled, _ := json.Marshal(secret) // a string always encodes
	quoted := string(marshalled[1 : len(marshalled)-1])
	query, path := url.QueryEscape(secret), url.PathEscape(secret)
	return []string{
		secret, withoutLineEnds.Replace(secret), quoted, goEscapes.Replace(quoted),
		query, path, lowerHex(query), lowerHex(path), html.EscapeString(secret),
	}
}

var (
	withoutLineEnds = strings.NewReplacer("\r", "", "\n", "")
	goEscapes       = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&") // other encoders leave these as they are
)

// lowerHex writes the digits of percent escapes in lower case.
func lowerHex(escaped string) string {
	b := []byte(escaped)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(escaped[i+1:i+3]))
		}
	}
	return string(b)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// redactedError is an error whose text held a secret or was too long; errors.Is and As still find what it is.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }
