package ylem

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// redact takes secrets out of what a server or a proxy may have echoed, and makes one line of it. Secrets in one of the
// usual forms are replaced. A text that still holds a part of one, however it was escaped, is not shown at all: servers
// quote in many ways, cut texts short, and quote half of an input.
func redact(text string, secrets []string) string {
	if text = replaceSecrets(text, secrets); holdsPart(text, secrets) {
		return "(hidden, as it may repeat what was sent)"
	}
	return text
}

func replaceSecrets(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		marshalled, _ := json.Marshal(secret) // strings always encode
		quoted := string(marshalled[1 : len(marshalled)-1])
		for _, form := range []string{secret, quoted, htmlEscapes.Replace(quoted), url.QueryEscape(secret), url.PathEscape(secret), withoutLineEnds.Replace(secret)} {
			if form = oneLine(form); len(form) >= 4 { // shorter ones would garble every text, and are no secrets
				forms = append(forms, form)
			}
		}
	}
	slices.Sort(forms)
	forms = slices.Compact(forms)
	// One secret may hold another.
	slices.SortStableFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	text = oneLine(text)
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, mark)
	}
	return text
}

const mark = "(hidden)"

// part is the length of the parts of a secret that are looked for, in letters and digits; shorter secrets are looked for
// as a whole.
const part = 8

// holdsPart reports whether a part of a secret stands in a text, escaped or not.
func holdsPart(text string, secrets []string) bool {
	read := letters(strings.ReplaceAll(text, mark, "\x00"))
	if len(read) < 4 {
		return false // of most answers there is no text
	}
	parts := map[string]bool{}
	for _, secret := range secrets {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
			form := letters(form)
			if 4 <= len(form) && len(form) < part && strings.Contains(read, form) {
				return true
			}
			for i := range len(form) - part + 1 {
				parts[form[i:i+part]] = true
			}
		}
		for _, name := range names(secret) { // words that also stand in harmless texts
			name := letters(name)
			for i := range len(name) - part + 1 {
				delete(parts, name[i:i+part])
			}
		}
	}
	for i := range len(read) - part + 1 {
		if parts[read[i:i+part]] {
			return true
		}
	}
	return false
}

// names are those in a secret that is JSON.
func names(secret string) (list []string) {
	var document any
	if json.Unmarshal([]byte(secret), &document) != nil {
		return nil
	}
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			for name, v := range value {
				list = append(list, name)
				walk(v)
			}
		case []any:
			for _, v := range value {
				walk(v)
			}
		}
	}
	walk(document)
	return list
}

// letters undoes the usual escapes, and leaves what they leave alone: letters and digits, in lower case. NUL stays as well.
func letters(s string) string {
	for range 3 { // escapes of escapes
		before := s
		s = escapes.ReplaceAllStringFunc(html.UnescapeString(s), func(escape string) string {
			switch {
			case escape[0] == '%':
				code, _ := strconv.ParseUint(escape[1:], 16, 8) // the pattern has checked it
				return string([]byte{byte(code)})
			case escape[1] == 'u':
				code, _ := strconv.ParseUint(escape[2:], 16, 16)
				return string(rune(code))
			default: // a line end or the like
				return " "
			}
		})
		if s == before {
			break
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == 0 {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

var (
	escapes     = regexp.MustCompile(`%[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[nrtbf]`)
	htmlEscapes = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&")
)

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
