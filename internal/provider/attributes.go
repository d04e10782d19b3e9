package provider

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// uuidAttribute is the subject's UUID, the one input that all data sources have.
func (s subject) uuidAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		Required: true,
		MarkdownDescription: fmt.Sprintf("UUID of the %s, such as `%s`. Ylem shows it on the %s's page. Upper and lower case mean the same.",
			s.noun, s.example, s.noun),
		Validators: []validator.String{uuidValidator{}},
	}
}

// windowAttributes are the inputs that name a window of time.
func windowAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"from": schema.StringAttribute{
			Optional: true,
			Computed: true,
			MarkdownDescription: "Start of the window, inclusive, to the second: `2024-01-31T14:23:01Z` (RFC 3339 with any offset), " +
				"`2024-01-31 14:23:01` or `2024-01-31` (both UTC). Give exactly one of `from` and `lookback`. Unset: `to` minus `lookback`.",
			Validators: []validator.String{timeValidator{}},
		},
		"to": schema.StringAttribute{
			Optional: true,
			Computed: true,
			MarkdownDescription: "End of the window, inclusive, to the second, in the same forms as `from`; `2024-01-31` is the day's first second. " +
				"Unset: two seconds after now, by Ylem's clock, to include what has just run.",
			Validators: []validator.String{timeValidator{}},
		},
		"lookback": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Length of the window before `to`, as a duration such as `24h` or `90m`, instead of `from`. Prefer it to " +
				"`timestamp()`, whose value is only known after apply, so the data source would not be read during the plan. Unset: the window starts at `from`.",
			Validators: []validator.String{durationValidator{}},
		},
	}
}

// windowValidators refuse windows that are ambiguous, or empty because their ends are swapped.
func windowValidators() []datasource.ConfigValidator {
	return []datasource.ConfigValidator{windowValidator{}}
}

type windowValidator struct{}

func (windowValidator) Description(context.Context) string {
	return "exactly one of from and lookback must be given, and from must not be after to"
}

func (v windowValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

// ValidateDataSource looks at the configuration as it came: through the framework, each attribute is a walk over the schema.
func (windowValidator) ValidateDataSource(_ context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	config := attributesOf(req.Config.Raw)
	from, lookback := config["from"], config["lookback"]
	const exactlyOne = "Give exactly one of from and lookback: from = \"2024-01-31\", or lookback = \"24h\" for the time before to."
	switch {
	case from.IsNull() && lookback.IsNull():
		resp.Diagnostics.AddError("Invalid window", exactlyOne)
	case from.IsKnown() && !from.IsNull() && lookback.IsKnown() && !lookback.IsNull():
		resp.Diagnostics.AddAttributeError(path.Root("from"), "Invalid window", exactlyOne)
	}
	start, err := ylem.ParseTime(textOf(from))
	if err != nil {
		return // absent, not known yet, or refused by its own validator
	}
	if end, err := ylem.ParseTime(textOf(config["to"])); err == nil {
		checkOrder(start, end, &resp.Diagnostics)
	}
}

func checkOrder(from, to time.Time, diags *diag.Diagnostics) {
	if from.After(to) {
		diags.AddAttributeError(path.Root("from"), "The window ends before it begins", fmt.Sprintf(
			"from (%s) is after to (%s). Ylem would answer that nothing ran. Swap the two, or leave out \"to\" to end the window now.",
			formatTime(from), formatTime(to)))
	}
}

// window is the time that a data source asks about.
type window struct {
	from, to         time.Time
	fromText, toText types.String // as written, or computed
}

// readWindow finds the window that the configuration names. The end that is left out is now, by the server's clock.
func readWindow(ctx context.Context, config tfsdk.Config, client *ylem.Client, diags *diag.Diagnostics) (w window) {
	attributes := attributesOf(config.Raw)
	from, to, lookback := textOf(attributes["from"]), textOf(attributes["to"]), textOf(attributes["lookback"])
	w.fromText, w.toText = types.StringValue(from), types.StringValue(to)
	var err error
	if to == "" {
		if w.to, err = client.Now(ctx); err != nil {
			addError(diags, path.Empty(), "", err)
			return w
		}
		// The server's clock is known to the second, and a row within the last second of a window is not found.
		w.to = w.to.Truncate(time.Second).Add(2 * time.Second)
		w.toText = timeValue(w.to)
	} else if w.to, err = ylem.ParseTime(to); err != nil {
		diags.AddAttributeError(path.Root("to"), "Invalid time", err.Error())
	}
	if from == "" {
		d, err := time.ParseDuration(lookback)
		if err != nil {
			diags.AddAttributeError(path.Root("lookback"), "Invalid duration", err.Error())
		}
		w.from = w.to.Add(-d)
		w.fromText = timeValue(w.from)
	} else if w.from, err = ylem.ParseTime(from); err != nil {
		diags.AddAttributeError(path.Root("from"), "Invalid time", err.Error())
	}
	if w.from.Year() < 0 && !diags.HasError() {
		diags.AddAttributeError(path.Root("lookback"), "Invalid window", "The window begins before the year 0. Shorten \"lookback\".")
	}
	if !diags.HasError() {
		checkOrder(w.from, w.to, diags)
	}
	return w
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// timeValue is a time as the provider shows it: RFC 3339, UTC. Never is null.
func timeValue(t time.Time) types.String {
	if t.IsZero() {
		return types.StringNull()
	}
	return types.StringValue(formatTime(t))
}

// setState fills a data source's state: the configuration as it is, and the values that were read. It does so past the
// schema, which the framework would walk once for each of them.
func setState(ctx context.Context, config tfsdk.Config, state *tfsdk.State, values map[string]attr.Value) {
	attributes := maps.Clone(attributesOf(config.Raw))
	for name, value := range values {
		attributes[name], _ = value.ToTerraformValue(ctx) // it fails for collections only
	}
	state.Raw = tftypes.NewValue(config.Raw.Type(), attributes)
}

// computedInt, computedString and computedBool are what is read.
func computedInt(description string) schema.Int64Attribute {
	return schema.Int64Attribute{Computed: true, MarkdownDescription: description}
}

func computedString(description string) schema.StringAttribute {
	return schema.StringAttribute{Computed: true, MarkdownDescription: description}
}

func computedBool(description string) schema.BoolAttribute {
	return schema.BoolAttribute{Computed: true, MarkdownDescription: description}
}

// orNull returns value, or null where it means nothing.
func orNull[T attr.Value](meaningful bool, value, null T) T {
	if meaningful {
		return value
	}
	return null
}

// attributesOf are an object's attributes; none where it is null or not known.
func attributesOf(object tftypes.Value) (attributes map[string]tftypes.Value) {
	if object.IsKnown() {
		_ = object.As(&attributes) // it is an object
	}
	return attributes
}

// textOf is a string; "" where it is null or not known.
func textOf(value tftypes.Value) (s string) {
	if value.IsKnown() && !value.IsNull() {
		_ = value.As(&s) // it is a string
	}
	return s
}
