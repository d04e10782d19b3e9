package ylemtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// answer is what goes over the wire. Keeping it as a value lets faults change
// it after the fact.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	truncate int  // as in Fault
	drop     bool // close the connection instead
	reset    bool // and make the client notice
	reason   string
}

// because adds the reason, for the log of requests. It must not hold a secret.
func (a answer) because(format string, args ...any) answer {
	a.reason = fmt.Sprintf(format, args...)
	return a
}

var dropped = answer{drop: true}

func textAnswer(status int, body string) answer {
	return answer{
		status: status,
		header: http.Header{
			"Content-Type":           {"text/plain; charset=utf-8"},
			"X-Content-Type-Options": {"nosniff"},
		},
		body: []byte(body),
	}
}

// dataAnswer is a success of the statistics routes.
func dataAnswer(v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	return rawAnswer(body)
}

func rawAnswer(body []byte) answer {
	return answer{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: body}
}

// errorAnswer is the error form of the statistics service.
func errorAnswer(status int, message string, details ...string) answer {
	body, err := json.Marshal(struct {
		Code    int      `json:"code"`
		Message string   `json:"message"`
		Errors  []string `json:"errors,omitempty"`
	}{status, message, details})
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	return answer{status: status, header: errorHeader(), body: append(body, '\n')}
}

func errorHeader() http.Header {
	return http.Header{
		"Content-Type":           {"application/json; charset=utf-8"},
		"X-Content-Type-Options": {"nosniff"},
	}
}

func badRequest(details []string) answer {
	return errorAnswer(http.StatusBadRequest, "Bad Request", details...).because("%s", strings.Join(details, "; "))
}

func forbidden() answer {
	return errorAnswer(http.StatusForbidden, "Forbidden")
}
