package request_test

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
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// Servers, proxies and their error pages quote what they were sent: as it is, JSON-encoded, URL-encoded.
func TestSecretsAreFoundInTheUsualEncodings(t *testing.T) {
	t.Parallel()
	for secret, echoes := range map[string][]string{
		"tést-secret":      {`tést-secret`, `t%C3%A9st-secret`, `t%c3%a9st-secret`},
		"a/b/secret1":      {`a/b/secret1`, `a%2Fb%2Fsecret1`, `a%2fb%2fsecret1`},
		"a b+c=secret":     {"a%20b+c=secret", "a+b%2Bc%3Dsecret", "a+b%2bc%3dsecret", "a b+c=secret"},
		"secret 😀":         {"secret 😀", "secret%20%F0%9F%98%80", "secret+%F0%9F%98%80"},
		`q"u&o<t>e-secret`: {`q\"u&o<t>e-secret`, `q\"u\u0026o\u003ct\u003ee-secret`, `q%22u%26o%3Ct%3Ee-secret`, `q&#34;u&amp;o&lt;t&gt;e-secret`},
	} {
		for _, echo := range echoes {
			for _, body := range []string{echo, `{"detail":"` + echo + `"}`, "<p>" + echo + "</p>"} {
				client := fake.NewClient(t, fake.New(t, fake.Answer(400, body)), func(cfg *request.Config) { cfg.ClientSecret = secret })
				text := fake.CallLastRun(t.Context(), client).Error()
				if _, shown, _ := strings.Cut(text, "400 Bad Request"); !strings.Contains(shown, "(hidden)") || strings.Contains(shown, "secret") {
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
	client := fake.NewClient(t, fake.New(t, fake.Answer(400, message)), func(cfg *request.Config) {
		cfg.ClientSecret, cfg.Headers = "NZWXI3DFMQ2GS43F", map[string]string{"X-Team": "42", "X-Door": "door-key-7f3a9c"}
	})
	if text := fake.CallLastRun(t.Context(), client).Error(); !strings.HasSuffix(text, message) {
		t.Error(text)
	}
	// An input is in the configuration and in the state anyway.
	_, err := fake.NewClient(t, fake.New(t, fake.Answer(500, "there is no table customers"))).RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{Body: []byte(`{"table":"customers"}`)})
	if text := err.Error(); !strings.HasSuffix(text, "there is no table customers") {
		t.Error(text)
	}
	// What the client itself says.
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(untrusted.Close)
	client = fake.NewClientAt(t, untrusted.URL, func(cfg *request.Config) { cfg.Headers = map[string]string{"X-Policy": "certificate-required"} })
	if text := fake.CallLastRun(t.Context(), client).Error(); !strings.Contains(text, "failed to verify certificate") {
		t.Error(text)
	}
	client = fake.NewClient(t, fake.New(t, fake.Stall), func(cfg *request.Config) { cfg.RequestTimeout, cfg.MaxRetries = time.Millisecond, 0 })
	if _, err = client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{Body: []byte("the quota is exceeded")}); !strings.Contains(err.Error(), "exceeded") {
		t.Error(err)
	}
	_, err = fake.NewClientAt(t, "http://127.0.0.1:1", func(cfg *request.Config) { cfg.MaxRetries = 0 }).RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{Body: []byte("connection refused")})
	if text := err.Error(); !strings.Contains(text, "127.0.0.1:1") {
		t.Error(text)
	}
}

// An answer of the token endpoint that is refused may hold tokens all the same.
func TestTokensInErrorsAreHidden(t *testing.T) {
	t.Parallel()
	const token = `{"access_token":"LEAKEDACCESSTOKEN","refresh_token":"LEAKEDREFRESHTOKEN","expires_in":86400}`
	for name, handler := range map[string]http.HandlerFunc{
		"in a 502":         fake.Answer(502, token, "Content-Type", fake.TypeJSON),
		"in a 400":         fake.Answer(400, token, "Content-Type", fake.TypeJSON),
		"in a page":        fake.Answer(502, "<pre>"+token+"</pre>", "Content-Type", fake.TypeHTML),
		"cut off":          fake.Answer(502, token[:40], "Content-Type", fake.TypeJSON),
		"in a description": fake.Answer(200, `{"access_token":"LEAKEDACCESSTOKEN","error":"odd","error_description":"LEAKEDACCESSTOKEN was issued"}`, "Content-Type", fake.TypeJSON),
		"too long":         fake.Answer(200, `{"access_token":"`+strings.Repeat("LEAKED", 10_000)+`"}`, "Content-Type", fake.TypeJSON),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, fake.AnswerJSON(fake.LastRun))
			f.Token = handler
			err := fake.CallLastRun(t.Context(), fake.NewClient(t, f))
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
			if got := request.Redact(before+form+after, secret); strings.Contains(got, line) || !strings.Contains(got, mark) {
				t.Errorf("%q is seen in %q", secret, got)
			}
		}
	})
}
