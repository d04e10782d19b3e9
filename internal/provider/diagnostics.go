package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// addError explains a request that failed: what failed, for which object, what Ylem answered, and what to do.
// at names the attribute that the object comes from, about says what the object is, such as "pipeline …".
func addError(diags *diag.Diagnostics, at path.Path, about string, err error) {
	e, ok := errors.AsType[*ylem.Error](err)
	if !ok {
		diags.AddError("Unexpected error", err.Error())
		return
	}
	summary, advice := explain(e)
	var detail strings.Builder
	if about != "" && e.Op != ylem.OpToken {
		fmt.Fprintf(&detail, "Could not %s: %s.\n\n", e.Op, about)
	}
	detail.WriteString(advice + "\n\n" + answer(e))
	if e.Op == ylem.OpToken || len(at.Steps()) == 0 {
		diags.AddError(summary, detail.String())
	} else {
		diags.AddAttributeError(at, summary, detail.String())
	}
}

// answer tells what was sent and what came back.
func answer(e *ylem.Error) string {
	var b strings.Builder
	if e.Method != "" {
		fmt.Fprintf(&b, "Request: %s %s\n", e.Method, e.URL)
	}
	switch {
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

// explain finds the summary of an error and what to do about it. The texts name each cause that Ylem does not
// tell apart.
func explain(e *ylem.Error) (summary, advice string) {
	switch {
	case errors.Is(e, context.Canceled):
		return "Interrupted", "The request was canceled because Terraform was interrupted."
	case e.StatusCode/100 == 3:
		return "Ylem's address answers with a redirect", fmt.Sprintf("It points to %q. Redirects are not followed, because the token would travel "+
			"with them: set api_url to the address of Ylem's API. If it is a login page, an access proxy is in front of Ylem: "+
			"authenticate to it with \"headers\".", e.Location)
	case e.Op == ylem.OpToken:
		return explainToken(e)
	case e.StatusCode == 0, timedOut(e.Err): // also within an answer
		return explainSilence(e.Err)
	case e.StatusCode/100 == 2:
		return "Ylem's answer cannot be understood", "Check that api_url (or YLEM_API_URL) is the address of Ylem's API and not of its web " +
			"interface or a proxy's page."
	case e.StatusCode == http.StatusUnauthorized:
		return "Ylem refused the access token", "A new token was refused as well. Ylem does this when the OAuth client or its user was " +
			"deactivated, and when its users service is down: check the client in Ylem and apply again."
	case e.MissingScope():
		scope := scopeFor(e.Op)
		return "The OAuth client lacks the scope " + scope, fmt.Sprintf("Give the OAuth client the scope %[1]s in Ylem. "+
			"If the provider's \"scopes\" are set, add %[1]s there too.", scope)
	case e.StatusCode == http.StatusForbidden:
		return "Ylem refuses access", "It most likely belongs to a different organization than the OAuth client. Check the UUID and the client."
	case e.StatusCode == http.StatusNotFound:
		return "Ylem has no such address", "There is no such route at this address: check api_url (or YLEM_API_URL)."
	case e.StatusCode == http.StatusBadRequest:
		return "Ylem refused the request", "Ylem names the error below. If the configuration looks right, please report this as a bug in the provider."
	case e.StatusCode == http.StatusTooManyRequests:
		return "Ylem is rate limiting requests", "Apply again later, or with a lower -parallelism."
	default:
		return "Ylem failed", "Ylem or one of its services has a problem. Apply again; if it persists, check Ylem's own logs."
	}
}

func explainToken(e *ylem.Error) (summary, advice string) {
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
		return "Ylem has no such address", "There is no OAuth endpoint at this address: check api_url (or YLEM_API_URL), which is given without /v1."
	default:
		return "Ylem gave no access token", "Check that api_url (or YLEM_API_URL) is the address of Ylem's API, and that Ylem is running."
	}
}

// explainSilence explains why there is no answer.
func explainSilence(err error) (summary, advice string) {
	const checks = "Check api_url (or YLEM_API_URL), the network and the proxy settings, and that Ylem is running."
	op, _ := errors.AsType[*net.OpError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case untrusted:
		return "Ylem's certificate is not trusted", "Set ca_cert_pem to the certificate of the authority that signed it, and check that api_url (or " +
			"YLEM_API_URL) names the host that the certificate is for."
	case op != nil && op.Op == "remote error": // a TLS alert
		return "Ylem refused the TLS connection", "The server most likely asks for a client certificate, or does not accept the one it got: check " +
			"client_cert_pem and client_key_pem."
	case timedOut(err):
		return "Ylem did not answer in time", checks + " If Ylem needs longer for this answer, raise request_timeout."
	default:
		return "Ylem cannot be reached", checks
	}
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func scopeFor(op ylem.Op) string {
	if op == ylem.OpRun {
		return "pipelines:run"
	}
	return "stats:read"
}

// addStartError explains a run that was not started, or of which that is not sure.
func addStartError(diags *diag.Diagnostics, pipelineUUID string, err error) {
	at, about := path.Root("pipeline_uuid"), "pipeline "+pipelineUUID
	e, ok := errors.AsType[*ylem.Error](err)
	if !ok {
		addError(diags, at, about, err)
		return
	}
	const notStarted = "No run was started. "
	switch {
	case e.MaybeStarted:
		diags.AddAttributeError(at, "The run may have been started", fmt.Sprintf(
			"The request to run pipeline %s was sent at %s (UTC) by Ylem's clock, but Ylem's answer does not say whether a run was started. Ylem has no "+
				"idempotency key, so the request is not repeated, and Terraform does not know the run.\n\n"+
				"Look in Ylem for a run of this pipeline that began at about that time. If there is one, import it "+
				"(terraform import ADDRESS %s/RUN_UUID, after terraform state rm ADDRESS if the state still holds an older run); if there is none, apply again.\n\n%s",
			pipelineUUID, e.SentAt.Format(time.DateTime), pipelineUUID, answer(e)))
	case e.Op == ylem.OpRun && e.StatusCode == http.StatusForbidden:
		causes := "The pipeline is paused: resume it in Ylem. Less likely, the OAuth client lacks the scope pipelines:run."
		if e.MissingScope() {
			causes = "The OAuth client lacks the scope pipelines:run: give it to the client in Ylem, and name it in the provider's \"scopes\" if " +
				"they are set. Less likely, the pipeline is paused."
		}
		diags.AddAttributeError(at, "Ylem refuses to run the pipeline",
			fmt.Sprintf("%sPipeline %s: %s\n\n%s", notStarted, pipelineUUID, causes, answer(e)))
	case e.Op == ylem.OpRun && e.StatusCode == http.StatusNotFound && e.Message == "":
		diags.AddAttributeError(at, "Ylem finds no pipeline to run", fmt.Sprintf(
			"%sPipeline %s does not exist or was deleted, or is a template, or has no active task. Check the UUID, and the pipeline in Ylem.\n\n%s",
			notStarted, pipelineUUID, answer(e)))
	default:
		summary, advice := explain(e)
		detail := notStarted + advice + "\n\n" + answer(e)
		if e.Op == ylem.OpToken {
			diags.AddError(summary, detail)
		} else {
			diags.AddAttributeError(at, summary, fmt.Sprintf("Pipeline %s: %s", pipelineUUID, detail))
		}
	}
}
