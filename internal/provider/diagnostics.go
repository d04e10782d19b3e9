package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// addError explains a request that failed: what failed, for which object, what Ylem answered, and what to do.
// at names the attribute that the object comes from, about says what the object is, such as "pipeline …".
func addError(diags *diag.Diagnostics, at path.Path, about string, err error) {
	e, ok := errors.AsType[*request.Error](err)
	switch {
	case ok:
	case errors.Is(err, context.Canceled): // while it waited for a request that others share
		diags.AddError("Interrupted", interruptedAdvice)
		return
	default:
		diags.AddError("Unexpected error", err.Error())
		return
	}
	summary, advice := explain(e)
	var detail strings.Builder
	if about != "" && e.Op != request.OpToken {
		fmt.Fprintf(&detail, "Could not %s: %s.\n\n", e.Op, about)
	}
	detail.WriteString(advice + "\n\n" + answer(e))
	if e.Op == request.OpToken || len(at.Steps()) == 0 {
		diags.AddError(summary, detail.String())
	} else {
		diags.AddAttributeError(at, summary, detail.String())
	}
}

// answer says what was sent and what came back.
func answer(e *request.Error) string {
	var b strings.Builder
	if e.Method != "" {
		fmt.Fprintf(&b, "Request: %s %s\n", e.Method, e.URL)
	}
	switch {
	case e.StatusCode == 0 && e.Method == "" && e.Err != nil:
		b.WriteString("Reason: " + e.Err.Error())
	case e.StatusCode == 0 && e.Err != nil:
		fmt.Fprintf(&b, "No answer: %s", e.Err)
	case e.Err != nil:
		fmt.Fprintf(&b, "Answer: %d %s, but %s", e.StatusCode, http.StatusText(e.StatusCode), e.Err)
	default:
		fmt.Fprintf(&b, "Answer: %d %s", e.StatusCode, http.StatusText(e.StatusCode))
		if e.Code != "" {
			b.WriteString(", " + e.Code)
		}
		if e.Location != "" {
			b.WriteString(", leading to " + e.Location)
		}
		if e.Message != "" {
			b.WriteString(", " + e.Message)
		} else {
			b.WriteString(", without a message")
		}
	}
	return b.String()
}

const interruptedAdvice = "The request was canceled because Terraform was interrupted."

// explain finds the summary of an error and what to do about it. The texts name each cause that Ylem's answer allows.
func explain(e *request.Error) (summary, advice string) {
	_, unreadable := errors.AsType[*ylem.RowError](e)
	switch {
	case unreadable:
		return "Ylem's answer cannot be understood", "A row of the log is in a form that the provider does not know. Please report this as a bug in the provider."
	case errors.Is(e, context.Canceled):
		return "Interrupted", interruptedAdvice
	case errors.Is(e, ylem.ErrLogTooLarge):
		return "The log is too large", "The pipeline logs more than the provider holds: fewer runs at a time, or shorter error messages, would fit."
	case e.StatusCode/100 == 3:
		return "Ylem's address answers with a redirect", fmt.Sprintf("It points to %q. Redirects are not followed, because the token would travel "+
			"with them: set api_url to the address of Ylem's API. If it is a login page, an access proxy is in front of Ylem: "+
			"authenticate to it with \"headers\".", e.Location)
	case e.StatusCode == http.StatusProxyAuthRequired:
		return explainProxy()
	case e.Op == request.OpToken:
		return explainToken(e)
	case e.StatusCode == 0, isTimeout(e.Err): // also within an answer
		return explainSilence(e.Err)
	case e.StatusCode/100 == 2:
		return "Ylem's answer cannot be understood", "Check that api_url (or YLEM_API_URL) is the address of Ylem's API and not of its web " +
			"interface or a proxy's page."
	case e.StatusCode == http.StatusUnauthorized:
		return "Ylem refused the access token", "A new token was refused as well. Ylem does this when the OAuth client or its user was " +
			"deactivated, and when its users service is down: check the client in Ylem and apply again."
	case e.MissingScope():
		return "The scope " + scopeFor(e.Op) + " is missing", missingScope(e.Op)
	case e.StatusCode == http.StatusForbidden:
		return "Ylem refuses access", "It most likely belongs to a different organization than the OAuth client. Check the UUID and the client."
	case e.StatusCode == http.StatusNotFound:
		return "Ylem does not recognize this URL", "There is no such route at this address: check api_url (or YLEM_API_URL)."
	case e.StatusCode == http.StatusBadRequest:
		return "Ylem refused the request", "Ylem names the error below. If the configuration looks right, please report this as a bug in the provider."
	case e.StatusCode == http.StatusTooManyRequests:
		return "Ylem is rate limiting requests", "Apply again later, or with a lower -parallelism."
	default:
		return "Ylem failed", "Ylem or one of its services has a problem. Apply again; if it persists, check Ylem's own logs."
	}
}

func missingScope(op request.Op) string {
	scope := scopeFor(op)
	return fmt.Sprintf("The access token lacks the scope %[1]s. If the provider's \"scopes\" are set, add it there. Otherwise the OAuth client itself lacks it: "+
		"give it to the client in Ylem. (In an open-source Ylem, every client has both scopes.)", scope)
}

func scopeFor(op request.Op) string {
	if op == request.OpRun {
		return "pipelines:run"
	}
	return "stats:read"
}

func explainToken(e *request.Error) (summary, advice string) {
	switch {
	case e.Code == "invalid_client":
		return "Ylem refused the client's secret", "Check client_secret (or YLEM_API_CLIENT_SECRET): it must be the secret of the OAuth client " +
			"that client_id (or YLEM_API_CLIENT_ID) names."
	case e.Code == "invalid_scope":
		return "Ylem refused the scopes", "The provider's \"scopes\" hold a scope that Ylem does not know or that the OAuth client does not have. " +
			"Leave \"scopes\" out to get all that the client has."
	case e.StatusCode == http.StatusInternalServerError:
		return "Ylem gave no access token", "Ylem gives the same answer for a client ID it does not know (wrong, deleted, or of a deactivated user) and for " +
			"a failure of its own. Check client_id (or YLEM_API_CLIENT_ID) first; if it is right, check Ylem."
	case e.StatusCode == 0:
		return explainSilence(e.Err)
	case e.StatusCode == http.StatusNotFound:
		return "Ylem does not recognize this URL", "There is no OAuth endpoint at this address: check api_url (or YLEM_API_URL), which is given without /v1."
	default:
		return "Ylem gave no access token", "Check that api_url (or YLEM_API_URL) is the address of Ylem's API, and that Ylem is running."
	}
}

func explainProxy() (summary, advice string) {
	return "The proxy refuses the request", "The proxy that the environment variable HTTPS_PROXY or HTTP_PROXY names wants a user name and password: write it as " +
		"http://USER:PASSWORD@HOST:PORT, percent-encoded, or name Ylem's host in NO_PROXY to reach it directly."
}

// explainSilence explains why there is no answer.
func explainSilence(err error) (summary, advice string) {
	const checks = "Check api_url (or YLEM_API_URL), the network and the proxy settings, and that Ylem is running."
	op, _ := errors.AsType[*net.OpError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	certificate, invalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case invalid && certificate.Reason == x509.Expired:
		return "Ylem's certificate has expired", "Renew the server's certificate, or check this machine's clock: the certificate has expired or is not valid yet."
	case untrusted:
		return "Ylem's certificate is not trusted", "Set ca_cert_pem to the certificate of the authority that signed it, and check that api_url (or " +
			"YLEM_API_URL) names the host that the certificate is for."
	case errors.Is(err, http.ErrSchemeMismatch):
		return "Ylem's address does not speak TLS", "The server answers in plain http: begin api_url (or YLEM_API_URL) with http:// instead of https://, or use the " +
			"port that serves https."
	case request.AnswersHTTP2(err):
		return "Ylem's address speaks only HTTP/2", "Runs are started over HTTP/1.1, so that no request is sent twice unnoticed: let the proxy in front of Ylem accept " +
			"HTTP/1.1 as well."
	case request.NeedsProxyPassword(err):
		return explainProxy()
	case op != nil && op.Op == "remote error": // a TLS alert
		return "Ylem refused the TLS connection", "The server most likely asks for a client certificate, or does not accept the one it got: check " +
			"client_cert_pem and client_key_pem."
	case isTimeout(err):
		return "Ylem did not answer in time", checks + " If Ylem needs longer for this answer, raise request_timeout."
	default:
		return "Ylem cannot be reached", checks
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
