package provider

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timetypes/timetypes"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/attr/xattr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

const durationForm = `a positive duration such as "30s", "5m" or "24h"`

var inDays = regexp.MustCompile(`(?i)^[0-9.]+ *(d|days?|w|weeks?)`)

// checkDuration checks that s is a positive duration, and not shorter than atLeast.
func checkDuration(s string, atLeast time.Duration) error {
	switch d, err := time.ParseDuration(s); {
	case err != nil && inDays.MatchString(s):
		return fmt.Errorf("%q: days are not supported; write hours, such as 168h for seven days", s)
	case err != nil:
		return fmt.Errorf("%q is not a duration", s)
	case d <= 0:
		return fmt.Errorf("%q is not more than zero", s)
	case d < atLeast:
		return fmt.Errorf("%q is less than %s", s, atLeast)
	}
	return nil
}

// durationType is the type of durations: that of terraform-plugin-framework-timetypes with our own check. The framework
// asks a type before any validator, and the message of GoDurationType does not say how to write days.
type durationType struct{ timetypes.GoDurationType }

func (durationType) String() string                       { return "durationType" }
func (durationType) ValueType(context.Context) attr.Value { return duration{} }

func (durationType) Equal(other attr.Type) bool {
	_, ok := other.(durationType)
	return ok
}

func (durationType) ValueFromString(_ context.Context, s basetypes.StringValue) (basetypes.StringValuable, diag.Diagnostics) {
	return duration{timetypes.GoDuration{StringValue: s}}, nil
}

func (t durationType) ValueFromTerraform(ctx context.Context, value tftypes.Value) (attr.Value, error) {
	d, err := t.GoDurationType.ValueFromTerraform(ctx, value)
	if err != nil {
		return nil, err
	}
	return duration{d.(timetypes.GoDuration)}, nil
}

// duration is a value of durationType.
type duration struct{ timetypes.GoDuration }

func (duration) Type(context.Context) attr.Type { return durationType{} }

func (d duration) Equal(other attr.Value) bool {
	o, ok := other.(duration)
	return ok && d.GoDuration.Equal(o.GoDuration)
}

func (d duration) StringSemanticEquals(ctx context.Context, other basetypes.StringValuable) (bool, diag.Diagnostics) {
	o, ok := other.(duration)
	if !ok {
		return false, nil
	}
	return d.GoDuration.StringSemanticEquals(ctx, o.GoDuration)
}

func (d duration) ValidateAttribute(_ context.Context, req xattr.ValidateAttributeRequest, resp *xattr.ValidateAttributeResponse) {
	if d.IsNull() || d.IsUnknown() {
		return
	}
	if err := checkDuration(d.ValueString(), 0); err != nil {
		refuse(&resp.Diagnostics, req.Path, "Invalid duration", durationForm, err)
	}
}

// or is the duration, or fallback if it is not set. A value that was unknown while it was validated is checked here.
func (d duration) or(fallback time.Duration, at path.Path, diags *diag.Diagnostics) time.Duration {
	if d.ValueString() == "" {
		return fallback
	}
	if err := checkDuration(d.ValueString(), 0); err != nil {
		refuse(diags, at, "Invalid duration", durationForm, err)
		return fallback
	}
	parsed, _ := time.ParseDuration(d.ValueString())
	return parsed
}

// durationValidator checks what the type does not: a minimum, and durations that are plain strings, as in the timeouts block.
type durationValidator struct {
	atLeast time.Duration // 0: any positive duration
}

func (durationValidator) Description(context.Context) string             { return "must be " + durationForm }
func (v durationValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (v durationValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	check(req, resp, "Invalid duration", durationForm, func(s string) error { return checkDuration(s, v.atLeast) })
}

// keepEqualDuration keeps the state's spelling of an equal duration, "60s" for "1m", so that no plan shows a change. The
// framework compares meanings only in what a provider returns, not in a plan.
type keepEqualDuration struct{}

func (keepEqualDuration) Description(context.Context) string {
	return "another spelling of the same duration is no change"
}
func (m keepEqualDuration) MarkdownDescription(c context.Context) string { return m.Description(c) }

func (keepEqualDuration) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	state, err := time.ParseDuration(req.StateValue.ValueString())
	plan, planErr := time.ParseDuration(req.PlanValue.ValueString())
	if err == nil && planErr == nil && state == plan {
		resp.PlanValue = req.StateValue
	}
}
