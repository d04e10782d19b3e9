package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// windowModel is the part of a data source's model that names a window of time.
type windowModel struct {
	From     types.String `tfsdk:"from"`
	To       types.String `tfsdk:"to"`
	Lookback duration     `tfsdk:"lookback"`
}

// What the descriptions of windows have in common.
const (
	fromDescription = "Start of the window, inclusive: `2024-01-31T14:23:01Z` (RFC 3339 with any offset), `2024-01-31 14:23:01` or " +
		"`2024-01-31` (both UTC). Ylem's windows have whole seconds: a fraction is rounded down. "
	toDescription = "End of the window, inclusive, in the same forms as `from`; `2024-01-31` is the day's first second. A fraction is rounded " +
		"up, so that a window that ends with a run's `finished_at` includes its last task. Defaults to two seconds after now, by Ylem's clock, to " +
		"include what has just run."
	lookbackDescription = "Length of the window before `to`, as a duration such as `90m`, `24h` or `168h` (a week), instead of `from`. "
)

func windowAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"from": schema.StringAttribute{
			Optional:            true,
			Computed:            true,
			MarkdownDescription: fromDescription + "Set exactly one of `from` and `lookback`. Defaults to `to` minus `lookback`.",
			Validators:          []validator.String{timeValidator{}},
		},
		"to": schema.StringAttribute{
			Optional:            true,
			Computed:            true,
			MarkdownDescription: toDescription,
			Validators:          []validator.String{timeValidator{}},
		},
		"lookback": schema.StringAttribute{
			Optional:   true,
			CustomType: durationType{},
			MarkdownDescription: lookbackDescription + "Prefer it to " +
				"`timestamp()`, whose value is only known after apply, so the data source would not be read during the plan.",
		},
	}
}

func windowValidators() []datasource.ConfigValidator {
	return []datasource.ConfigValidator{windowValidator{}}
}

// windowValidator refuses a window that is ambiguous, or empty because its ends are swapped.
type windowValidator struct{}

func (windowValidator) Description(context.Context) string {
	return "exactly one of from and lookback must be set, and from must not be after to"
}

func (v windowValidator) MarkdownDescription(c context.Context) string { return v.Description(c) }

func (windowValidator) ValidateDataSource(ctx context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	m, ok := windowOf(ctx, req.Config)
	if ok && m.From.IsNull() && m.Lookback.IsNull() {
		resp.Diagnostics.AddError("Invalid window", exactlyOne)
	}
	m.check(exactlyOne, &resp.Diagnostics)
}

const exactlyOne = "Set exactly one of from and lookback: from = \"2024-01-31\", or lookback = \"24h\" for the 24 hours before \"to\" (default: now)."

const atMostOne = "Set at most one of from and lookback: from = \"2024-01-31\", or lookback = \"24h\" for the time before to."

// windowOf reads the window of a configuration, if that can be read: otherwise, the attributes' own checks say why.
func windowOf(ctx context.Context, config tfsdk.Config) (m windowModel, ok bool) {
	for name, target := range map[string]any{"from": &m.From, "to": &m.To, "lookback": &m.Lookback} {
		if config.GetAttribute(ctx, path.Root(name), target).HasError() {
			return windowModel{}, false
		}
	}
	return m, true
}

// check refuses a window with two beginnings, or one that ends before it begins.
func (m windowModel) check(advice string, diags *diag.Diagnostics) {
	if !m.From.IsNull() && !m.From.IsUnknown() && !m.Lookback.IsNull() && !m.Lookback.IsUnknown() {
		diags.AddAttributeError(path.Root("from"), "Invalid window", advice)
	}
	from, fromErr := ylem.ParseTime(m.From.ValueString())
	to, toErr := ylem.ParseTime(m.To.ValueString())
	if fromErr == nil && toErr == nil { // else absent, not known yet, or refused by its own validator
		checkOrder(wholeSeconds(from, to), diags)
	}
}

// window is the time that Ylem is asked about, in whole seconds, both ends included.
type window struct{ from, to time.Time }

// wholeSeconds is the smallest window in Ylem's whole seconds that holds both times: Ylem drops fractions, so that a row
// within the last second of a window would be missing.
func wholeSeconds(from, to time.Time) window {
	return window{from.Truncate(time.Second), ylem.CeilSecond(to)}
}

func checkOrder(w window, diags *diag.Diagnostics) {
	if w.from.After(w.to) {
		diags.AddAttributeError(path.Root("from"), "The window ends before it begins", fmt.Sprintf(
			"from (%s) is after to (%s). Ylem would answer that nothing ran. Swap the two, or leave out \"to\" to end the window now.",
			formatTime(w.from), formatTime(w.to)))
	}
}

// read returns the window that the configuration names, and sets what is computed: from and to. If neither from nor lookback
// is set, the window has the default length.
func (m *windowModel) read(ctx context.Context, client *ylem.Client, lookback time.Duration, diags *diag.Diagnostics) window {
	var from, to time.Time
	var err error
	if m.To.IsNull() {
		if to, err = client.Now(ctx); err != nil {
			addError(diags, path.Empty(), "", err)
			return window{}
		}
		// The server's clock is known to the second, and a row within the last second of a window is not found.
		to = to.Truncate(time.Second).Add(2 * time.Second)
		m.To = timeValue(to)
	} else if to, err = ylem.ParseTime(m.To.ValueString()); err != nil {
		diags.AddAttributeError(path.Root("to"), "Invalid time", err.Error())
	}
	if m.From.IsNull() {
		from = to.Add(-m.Lookback.or(lookback, path.Root("lookback"), diags)).Truncate(time.Second)
		m.From = timeValue(from)
	} else if from, err = ylem.ParseTime(m.From.ValueString()); err != nil {
		diags.AddAttributeError(path.Root("from"), "Invalid time", err.Error())
	}
	if from.Year() < 0 && !diags.HasError() {
		diags.AddAttributeError(path.Root("lookback"), "Invalid window", "The window begins before the year 0. Shorten \"lookback\".")
	}
	w := wholeSeconds(from, to)
	if !diags.HasError() {
		checkOrder(w, diags)
	}
	return w
}
