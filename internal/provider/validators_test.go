package provider

import (
	"strings"
	"testing"
)

// Everything that can be known to be wrong is refused while planning, with the attribute named.

func TestProviderArgumentsAreValidated(t *testing.T) {
	t.Parallel()
	key := newKeyPair(t, nil)
	other := newKeyPair(t, nil)
	for name, test := range map[string]struct {
		arguments object
		attribute string
		says      []string
	}{
		"URL without a scheme":       {object{"api_url": "ylem.example.com"}, "api_url", []string{"must begin with https:// or http://", `"https://ylem.example.com"`}},
		"URL of another scheme":      {object{"api_url": "ftp://ylem.example.com"}, "api_url", []string{"must begin with https:// or http://"}},
		"URL without a host":         {object{"api_url": "https://"}, "api_url", []string{"names no host"}},
		"URL with only a port":       {object{"api_url": "https://:7339"}, "api_url", []string{"names no host"}},
		"URL with a password":        {object{"api_url": "https://me:hunter2@ylem.example.com"}, "api_url", []string{"user name or password"}},
		"URL with a query":           {object{"api_url": "https://ylem.example.com?a=b"}, "api_url", []string{"query or fragment"}},
		"URL with an empty query":    {object{"api_url": "https://ylem.example.com/?"}, "api_url", []string{"query or fragment"}},
		"URL with a fragment":        {object{"api_url": "https://ylem.example.com/#top"}, "api_url", []string{"query or fragment"}},
		"URL with a newline":         {object{"api_url": "https://ylem.example.com\n"}, "api_url", []string{"white space", "line end"}},
		"URL with a space":           {object{"api_url": "https://ylem.example.com /"}, "api_url", []string{"not a URL"}},
		"URL with a port in letters": {object{"api_url": "https://me:hunter2@ylem.example.com:http"}, "api_url", []string{"not a URL"}},

		"address without a scheme": {object{"api_url": "127.0.0.1:7339"}, "api_url", []string{"as in http://127.0.0.1:7339"}},

		"duration in days":        {object{"request_timeout": "1d"}, "request_timeout", []string{"168h for seven days"}},
		"duration without a unit": {object{"request_timeout": "60"}, "request_timeout", []string{`"60" is not a duration`, `"30s"`}},
		"duration in words":       {object{"request_timeout": "one minute"}, "request_timeout", []string{"not a duration"}},
		"duration of zero":        {object{"request_timeout": "0s"}, "request_timeout", []string{"not more than zero"}},
		"negative duration":       {object{"request_timeout": "-1s"}, "request_timeout", []string{"not more than zero"}},

		"negative retries":      {object{"max_retries": -1}, "max_retries", []string{"between 0 and 20"}},
		"too many retries":      {object{"max_retries": 21}, "max_retries", []string{"between 0 and 20"}},
		"no concurrent runs":    {object{"max_concurrent_runs": 0}, "max_concurrent_runs", []string{"between 1 and 1000"}},
		"scopes with a comma":   {object{"scopes": []string{"pipelines:run,stats:read"}}, "scopes", []string{"without spaces or commas", `"stats:read"`}},
		"scopes with a space":   {object{"scopes": []string{"pipelines:run stats:read"}}, "scopes", []string{"without spaces or commas"}},
		"empty scope":           {object{"scopes": []string{""}}, "scopes", []string{"must be one scope"}},
		"header Authorization":  {object{"headers": object{"authorization": "x"}}, "headers", []string{"the header Authorization must not be set"}},
		"header Host":           {object{"headers": object{"HOST": "x"}}, "headers", []string{"the header Host must not be set"}},
		"header Content-Length": {object{"headers": object{"content-length": "1"}}, "headers", []string{"the header Content-Length must not be set"}},
		"header set twice":      {object{"headers": object{"X-Door": "1", "x-door": "2"}}, "headers", []string{"the header X-Door is set twice"}},
		"header with a space":   {object{"headers": object{"X Y": "1"}}, "headers", []string{"not the name of a header"}},
		"header with a newline": {object{"headers": object{"X\nY": "1"}}, "headers", []string{"not the name of a header"}},
		"header without a name": {object{"headers": object{"": "1"}}, "headers", []string{"not the name of a header"}},
		"header value of lines": {object{"headers": object{"X-Y": "hunter2\r\nAuthorization: x"}}, "headers", []string{"one line of printable characters"}},
		"header from a file":    {object{"headers": object{"X-Y": "hunter2\n"}}, "headers", []string{"a line break", "trimspace()"}},

		"no certificate":               {object{"ca_cert_pem": "ca.pem"}, "ca_cert_pem", []string{"no PEM certificate", `file("ca.pem")`}},
		"key in place of certificate":  {object{"ca_cert_pem": key.keyPEM}, "ca_cert_pem", []string{"no PEM certificate"}},
		"client certificate, no key":   {object{"client_cert_pem": key.certPEM}, "client_cert_pem", []string{"client_key_pem"}},
		"client key, no certificate":   {object{"client_key_pem": key.keyPEM}, "client_key_pem", []string{"client_cert_pem"}},
		"client certificate, bad PEM":  {object{"client_cert_pem": "client.pem", "client_key_pem": key.keyPEM}, "client_cert_pem", []string{"must be a certificate and its private key"}},
		"client key of another":        {object{"client_cert_pem": key.certPEM, "client_key_pem": other.keyPEM}, "client_cert_pem", []string{"does not match"}},
		"client certificate, no value": {object{"client_cert_pem": "", "client_key_pem": key.keyPEM}, "client_cert_pem", []string{"one of them is empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arguments := object{"client_id": "id", "client_secret": "secret"}.with(test.arguments)
			diags := newProtocol(t).configure(t, arguments)
			diags.expectError(t, test.attribute, test.says...)
			for _, secret := range []string{"hunter2", "PRIVATE KEY"} {
				if strings.Contains(diags.String(), secret) {
					t.Errorf("shows %q:%s", secret, diags)
				}
			}
		})
	}
}

func TestProviderArgumentsAreAccepted(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string]object{
		"trailing slash":        {"api_url": "https://ylem.example.com/"},
		"with /v1":              {"api_url": "https://ylem.example.com/v1"},
		"with /v1/":             {"api_url": "https://ylem.example.com/v1/"},
		"path prefix":           {"api_url": "https://example.com/tools/ylem"},
		"IPv6":                  {"api_url": "https://[2001:db8::1]:7339"},
		"http on loopback":      {"api_url": "http://localhost:7339"},
		"http on loopback IPv4": {"api_url": "http://127.0.0.2:7339"},
		"http on loopback IPv6": {"api_url": "http://[::1]:7339"},
		"limits":                {"max_retries": 0, "max_concurrent_runs": 1000, "request_timeout": "1ms"},
		"empty collections":     {"scopes": []string{}, "headers": object{}},
		"empty certificates":    {"ca_cert_pem": "", "client_cert_pem": "", "client_key_pem": ""},
		"insecure":              {"insecure": true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			diags := newProtocol(t).configure(t, object{"client_id": "id", "client_secret": "secret"}.with(arguments))
			if len(diags) > 0 {
				t.Error(diags)
			}
		})
	}
}

// notUUIDs must never be a part of a request's path.
var notUUIDs = map[string]string{
	"word": "pipeline", "empty": "", "without dashes": "b3a1f0c452d74a8e9c1b7e6d5f4a3b2c", "in braces": "{b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c}",
	"with a newline": "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c\n", "with a slash": "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2/",
	"with %2F": "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3%2F", "with ..": "../../oauth/token", "with ?": "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2?",
	"look-alikes": "Ьзa1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c", "full width": "ｂ3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c", "wide dashes": "b3a1f0c4‐52d7‐4a8e‐9c1b‐7e6d5f4a3b2c",
}

func TestDataSourceArgumentsAreValidated(t *testing.T) {
	t.Parallel()
	p := newProtocol(t) // not configured, as under terraform validate
	window := object{"from": "2024-01-01", "to": "2024-02-01"}
	periods := object{"date_from": "2024-01-01", "period": "month", "number_of_periods": 12}
	const (
		good  = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
		logs  = "ylem_pipeline_logs"
		stats = "ylem_task_stats"
		aggr  = "ylem_pipeline_aggregated_stats"
	)
	pipeline := func(arguments, more object) object { return arguments.with(object{"pipeline_uuid": good}).with(more) }
	task := func(arguments, more object) object { return arguments.with(object{"task_uuid": good}).with(more) }

	type test struct {
		dataSource string
		arguments  object
		attribute  string
		says       []string
	}
	tests := map[string]test{
		"neither from nor lookback": {logs, pipeline(object{}, nil), "", []string{"from", "lookback"}},
		"both from and lookback":    {logs, pipeline(window, object{"lookback": "24h"}), "from", []string{"from", "lookback"}},
		"neither, statistics":       {stats, task(object{}, nil), "", []string{"from", "lookback"}},
		"both, statistics":          {stats, task(window, object{"lookback": "24h"}), "from", []string{"from", "lookback"}},
		"from after to": {
			stats, task(object{"from": "2024-01-02", "to": "2024-01-01"}, nil), "from",
			[]string{"ends before it begins", "2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z", "Swap"},
		},
		"from after to by its offset": {
			logs, pipeline(object{"from": "2024-01-01T00:00:00-01:00", "to": "2024-01-01 00:59:59"}, nil), "from",
			[]string{"ends before it begins", "2024-01-01T01:00:00Z"},
		},
		"unreadable from":          {logs, pipeline(object{"from": "yesterday"}, nil), "from", []string{`"yesterday" is not a time`, `"2024-01-31T14:23:01Z"`}},
		"from with a month of 13":  {logs, pipeline(object{"from": "2024-13-01"}, nil), "from", []string{"is not a time"}},
		"from on 30 February":      {logs, pipeline(object{"from": "2024-02-30"}, nil), "from", []string{"is not a time"}},
		"unreadable to":            {stats, task(object{"lookback": "1h", "to": "2024-01-01T00:00:00"}, nil), "to", []string{"is not a time"}},
		"empty to":                 {stats, task(object{"lookback": "1h", "to": ""}, nil), "to", []string{"is not a time"}},
		"lookback in days":         {stats, task(object{"lookback": "7d"}, nil), "lookback", []string{`"7d" is not a duration`, `"24h"`, "168h for seven days", "168h"}},
		"lookback in weeks":        {stats, task(object{"lookback": "2 weeks"}, nil), "lookback", []string{`"2 weeks" is not a duration`, "168h"}},
		"lookback with days":       {logs, pipeline(object{"lookback": "1d12h"}, nil), "lookback", []string{`"1d12h" is not a duration`, "168h"}},
		"negative lookback":        {logs, pipeline(object{"lookback": "-24h"}, nil), "lookback", []string{"not more than zero"}},
		"run that is no UUID":      {logs, pipeline(window, object{"pipeline_run_uuid": "1"}), "pipeline_run_uuid", []string{`"1" is not a UUID`}},
		"task that is no UUID":     {logs, pipeline(window, object{"task_uuid": "1"}), "task_uuid", []string{`"1" is not a UUID`}},
		"limit of zero":            {logs, pipeline(window, object{"limit": 0}), "limit", []string{"between 1 and 25000"}},
		"limit beyond Terraform's": {logs, pipeline(window, object{"limit": 25_001}), "limit", []string{"between 1 and 25000"}},
		"unknown period":           {aggr, pipeline(periods, object{"period": "hour"}), "period", []string{`"day"`, `"quarter"`, `"hour"`}},
		"period in capitals":       {aggr, pipeline(periods, object{"period": "MONTH"}), "period", []string{`"month"`, `"MONTH"`}},
		"no periods":               {aggr, pipeline(periods, object{"number_of_periods": 0}), "number_of_periods", []string{"at least 1"}},
		"negative periods":         {aggr, pipeline(periods, object{"number_of_periods": -3}), "number_of_periods", []string{"at least 1"}},
		"unreadable date_from":     {aggr, pipeline(periods, object{"date_from": "01.02.2024"}), "date_from", []string{"is not a time"}},
		"days beyond 2106":         {aggr, pipeline(periods, object{"period": "day", "number_of_periods": 30_000}), "number_of_periods", []string{"2106-02-07", "nothing ran", "30000"}},
		"weeks beyond 2106":        {aggr, pipeline(periods, object{"period": "week", "number_of_periods": 4_284}), "number_of_periods", []string{"2106-02-07"}},
		"months beyond 2106":       {aggr, pipeline(periods, object{"number_of_periods": 1_000}), "number_of_periods", []string{"2106-02-07"}},
		"quarters beyond 2106":     {aggr, pipeline(periods, object{"period": "quarter", "number_of_periods": 329}), "number_of_periods", []string{"2106-02-07"}},
		"years beyond 2106":        {aggr, pipeline(periods, object{"period": "year", "number_of_periods": 83}), "number_of_periods", []string{"2106-02-07"}},
		"more periods than 32 bit": {aggr, pipeline(periods, object{"number_of_periods": int64(99_999_999_999)}), "number_of_periods", []string{"2106-02-07"}},
	}
	for _, dataSource := range []string{
		logs, "ylem_pipeline_stats", "ylem_pipeline_aggregated_stats", "ylem_pipeline_last_run",
		stats, "ylem_task_aggregated_stats", "ylem_task_last_run",
	} {
		attribute, arguments := "pipeline_uuid", object{}
		if strings.Contains(dataSource, "_task_") {
			attribute = "task_uuid"
		}
		switch {
		case strings.HasSuffix(dataSource, "aggregated_stats"):
			arguments = periods
		case !strings.HasSuffix(dataSource, "last_run"):
			arguments = window
		}
		for name, uuid := range notUUIDs {
			tests[dataSource+", UUID "+name] = test{
				dataSource, arguments.with(object{attribute: uuid}), attribute,
				[]string{"is not a UUID", `"6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10"`},
			}
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.validate(t, test.dataSource, test.arguments).expectError(t, test.attribute, test.says...)
		})
	}
}

func TestDataSourceArgumentsAreAccepted(t *testing.T) {
	t.Parallel()
	p := newProtocol(t)
	const good = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
	periods := object{"task_uuid": good, "date_from": "2024-01-01", "period": "month", "number_of_periods": 12}
	for name, test := range map[string]struct {
		dataSource string
		arguments  object
	}{
		"within one second":      {"ylem_pipeline_logs", object{"pipeline_uuid": good, "from": "2024-01-01T00:00:00.9Z", "to": "2024-01-01T00:00:00.1Z"}},
		"the last second":        {"ylem_pipeline_logs", object{"pipeline_uuid": good, "from": "9999-12-31T23:59:59.5Z", "to": "9999-12-31T23:59:59.9Z"}},
		"all rows that may be":   {"ylem_pipeline_logs", object{"pipeline_uuid": good, "from": "2024-01-01", "limit": 25_000}},
		"window of one second":   {"ylem_task_stats", object{"task_uuid": good, "from": "2024-01-01", "to": "2024-01-01T01:00:00+01:00"}},
		"from not known yet":     {"ylem_task_stats", object{"task_uuid": good, "from": unknown{}}},
		"lookback not known yet": {"ylem_task_stats", object{"task_uuid": good, "lookback": unknown{}, "to": unknown{}}},
		"to before unknown from": {"ylem_pipeline_logs", object{"pipeline_uuid": unknown{}, "from": unknown{}, "to": "1970-01-01"}},
		"periods not known yet":  {"ylem_task_aggregated_stats", periods.with(object{"number_of_periods": unknown{}})},
		"date not known yet":     {"ylem_task_aggregated_stats", periods.with(object{"date_from": unknown{}, "number_of_periods": 100_000})},
		"82 years":               {"ylem_task_aggregated_stats", periods.with(object{"period": "year", "number_of_periods": 82})},
		"the last day":           {"ylem_task_aggregated_stats", periods.with(object{"date_from": "2106-02-06T23:59:59Z", "period": "day", "number_of_periods": 1})},
		"from 1960":              {"ylem_task_aggregated_stats", periods.with(object{"date_from": "1960-01-01"})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diags := p.validate(t, test.dataSource, test.arguments); len(diags) > 0 {
				t.Error(diags)
			}
		})
	}
}
