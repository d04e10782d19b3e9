package provider

import (
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timetypes/timetypes"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func durationOf(s string) duration {
	return duration{timetypes.GoDuration{StringValue: types.StringValue(s)}}
}

func TestDurationsAreEqualByMeaning(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b  string
		equal bool
	}{
		{"60s", "1m", true}, {"1m", "60s", true}, {"24h", "1440m0s", true}, {"60s", "60s", true}, {"60s", "61s", false},
	} {
		a, b := durationOf(test.a), durationOf(test.b)
		if equal, diags := a.StringSemanticEquals(t.Context(), b); equal != test.equal || diags.HasError() {
			t.Errorf("%s equals %s: %t %v", test.a, test.b, equal, diags)
		}
		resp := planmodifier.StringResponse{PlanValue: b.StringValue}
		keepEqualDuration{}.PlanModifyString(t.Context(), planmodifier.StringRequest{StateValue: a.StringValue, PlanValue: b.StringValue}, &resp)
		if kept := resp.PlanValue.ValueString() == test.a; kept != test.equal {
			t.Errorf("from %s to %s is planned as %s", test.a, test.b, resp.PlanValue)
		}
	}
}

// What is not known in the state or in the plan is left as it is.
func TestDurationsThatAreNotSetStayAsPlanned(t *testing.T) {
	t.Parallel()
	values := []types.String{types.StringNull(), types.StringUnknown(), types.StringValue("0"), types.StringValue("60s")}
	for _, state := range values {
		for _, plan := range values {
			resp := planmodifier.StringResponse{PlanValue: plan}
			keepEqualDuration{}.PlanModifyString(t.Context(), planmodifier.StringRequest{StateValue: state, PlanValue: plan}, &resp)
			if !resp.PlanValue.Equal(plan) {
				t.Errorf("from %s to %s is planned as %s", state, plan, resp.PlanValue)
			}
		}
	}
}

func TestDurationOrDefault(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		value  duration
		want   time.Duration
		errors int
	}{
		"not set":  {duration{}, time.Hour, 0},
		"unknown":  {duration{timetypes.NewGoDurationUnknown()}, time.Hour, 0},
		"set":      {durationOf("60s"), time.Minute, 0},
		"in days":  {durationOf("7d"), time.Hour, 1}, // was unknown while it was validated
		"negative": {durationOf("-1s"), time.Hour, 1},
	} {
		var diags diag.Diagnostics
		if got := test.value.or(time.Hour, path.Root("lookback"), &diags); got != test.want || diags.ErrorsCount() != test.errors {
			t.Errorf("%s: %s, want %s: %v", name, got, test.want, diags)
		}
	}
}

// However an equal duration is written, nothing changes for Ylem, and the configuration's spelling stays.
func TestLookbackSpellings(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	arguments := s.ran().with(object{"to": "2024-06-02"})
	p := s.connect(t, object{"request_timeout": "1m0s"})
	for _, lookback := range []string{"24h", "1440m", "86400s", "23h59m60s"} {
		p.mustRead(t, "ylem_pipeline_stats", arguments.with(object{"lookback": lookback})).
			expect(t, object{"lookback": lookback, "from": "2024-06-01T00:00:00Z", "num_of_successes": 1})
	}
}
