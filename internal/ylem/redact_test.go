package ylem_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// Servers, proxies and their error pages quote what they were sent in many ways, and not always whole.
func TestSecretsAreFoundHoweverTheyAreQuoted(t *testing.T) {
	t.Parallel()
	for secret, echoes := range map[string][]string{
		"tést-secret":  {`t\u00e9st-secret`, `t\u00E9st-secret`, `t&eacute;st-secret`, `t%C3%A9st-secret`, `t%c3%a9st-secret`, `t\\u00e9st-secret`, "TÉST-SECRET"},
		"a/b/secret1":  {`a\/b\/secret1`, `a%2Fb%2Fsecret1`, `a%2fb%2fsecret1`, `a%252Fb%252Fsecret1`, `a&#x2F;b&#47;secret1`},
		"a b+c=secret": {"a%20b%2Bc%3Dsecret", "a+b%2bc%3dsecret", "a b+c&#61;secret"},
		"secret 😀":     {`secret \ud83d\ude00`, "secret%20%F0%9F%98%80"},
		`{"a":"b&c<secret>"}`: {
			`{\"a\":\"b&c<secret>\"}`, `{&quot;a&quot;:&quot;b&amp;c&lt;secret&gt;&quot;}`, `{&#34;a&#34;:&#34;b&amp;c&lt;secret&gt;&#34;}`,
			`{ "a": "b\u0026c\u003csecret\u003e" }`, `{\\\"a\\\":\\\"b&c<secret>\\\"}`,
		},
		`{"pincode":123,"kind":"secret"}`:            {`{ "pincode" : 123, "kind" : "secret" }`, `pincode: 123, kind: secret`},
		`{"user":"me","password":"hunter22-secret"}`: {`bad password hunter22-secret`, `{"password": "hunter22-secret", "user": "me"}`, `password=hunter22%2Dsecret`},
		"client-secret-0123456789":                   {"client-secret-01", "secret-0123456789", "Y2xpZW50LXNlY3JldC0wMTIzNDU2Nzg5"},
		"TOKENSECRETOFMANYLETTERS":                   {"tokensecretofmanyletters", "TokenSecretOfMany"},
	} {
		for _, echo := range echoes {
			for _, body := range []string{echo, `{"detail":"` + echo + `"}`, "<p>" + echo + "</p>"} {
				client := newClient(t, newFake(t, answer(400, body)), func(cfg *ylem.Config) { cfg.ClientSecret = secret })
				text := callLastRun(t.Context(), client).Error()
				if _, shown, _ := strings.Cut(text, "400 Bad Request"); !strings.HasPrefix(shown, ": ") || strings.ContainsAny(shown, "0123456789") ||
					!strings.Contains(shown, "(hidden") || strings.Contains(strings.ToLower(shown), "secret") {
					t.Errorf("%q as %q is seen in %s", secret, body, text)
				}
			}
		}
	}
}

// What is not secret is shown.
func TestMessagesAreShown(t *testing.T) {
	t.Parallel()
	const message = "Bad Request: parsing time as 2006-01-02 15:04:05"
	client := newClient(t, newFake(t, answer(400, message)), func(cfg *ylem.Config) {
		cfg.ClientSecret, cfg.Headers = "NZWXI3DFMQ2GS43F", map[string]string{"X-Team": "42", "X-Door": "door-key-7f3a9c"}
	})
	if text := callLastRun(t.Context(), client).Error(); !strings.HasSuffix(text, message) {
		t.Error(text)
	}
	// The names in an input are words that also stand elsewhere.
	_, err := newClient(t, newFake(t, answer(500, "the database is unavailable"))).RunPipeline(t.Context(), pipelineUUID, []byte(`{"database":"4711","full":true}`))
	if text := err.Error(); !strings.HasSuffix(text, "the database is unavailable") {
		t.Error(text)
	}
	// What the client itself says.
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(untrusted.Close)
	client = newClientAt(t, untrusted.URL, func(cfg *ylem.Config) { cfg.Headers = map[string]string{"X-Policy": "certificate-required"} })
	if text := callLastRun(t.Context(), client).Error(); !strings.Contains(text, "failed to verify certificate") {
		t.Error(text)
	}
	client = newClient(t, newFake(t, stall), func(cfg *ylem.Config) { cfg.RequestTimeout, cfg.MaxRetries = time.Millisecond, 0 })
	if _, err = client.RunPipeline(t.Context(), pipelineUUID, []byte("the quota is exceeded")); !strings.Contains(err.Error(), "exceeded") {
		t.Error(err)
	}
	_, err = newClientAt(t, "http://127.0.0.1:1", func(cfg *ylem.Config) { cfg.MaxRetries = 0 }).RunPipeline(t.Context(), pipelineUUID, []byte("connection refused"))
	if text := err.Error(); !strings.Contains(text, "127.0.0.1:1") {
		t.Error(text)
	}
}

// An answer of the token endpoint that is refused may hold tokens all the same.
func TestTokensInErrorsAreHidden(t *testing.T) {
	t.Parallel()
	const token = `{"access_token":"LEAKEDACCESSTOKEN","refresh_token":"LEAKEDREFRESHTOKEN","expires_in":86400}`
	for name, handler := range map[string]http.HandlerFunc{
		"in a 502":         answer(502, token, "Content-Type", typeJSON),
		"in a 400":         answer(400, token, "Content-Type", typeJSON),
		"in a page":        answer(502, "<pre>"+token+"</pre>", "Content-Type", typeHTML),
		"cut off":          answer(502, token[:40], "Content-Type", typeJSON),
		"in a description": answer(200, `{"access_token":"LEAKEDACCESSTOKEN","error":"odd","error_description":"LEAKEDACCESSTOKEN was issued"}`, "Content-Type", typeJSON),
		"too long":         answer(200, `{"access_token":"`+strings.Repeat("LEAKED", 10_000)+`"}`, "Content-Type", typeJSON),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answerJSON(lastRun))
			f.token = handler
			err := callLastRun(t.Context(), newClient(t, f))
			if err == nil || strings.Contains(err.Error(), "LEAKED") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func FuzzRedact(f *testing.F) {
	for _, s := range []string{"hunter2", `+ / & = % space é`, "a\nb\tc d", `{"a":"b&c<secret>"}`, `\\\"\"`, "😀😀", "%41%42", "\u2028\u2029x", "aaaa"} {
		f.Add(s, "before ", " after")
	}
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		line := strings.Join(strings.Fields(secret), " ")
		// Texts are UTF-8. What stands in place of a secret must not look like one.
		const mark, reason = "(hidden", "(hidden, as it may repeat what was sent)"
		if len(line) < 4 || !utf8.ValidString(secret) || strings.ContainsAny(secret, "()") || strings.Contains(reason, line) {
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
